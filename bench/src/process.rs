//! What a process takes, as /proc tells it.

use std::time::Duration;

use anyhow::{Context as _, Result};

const MB: f64 = 1024.0;

/// One process.
pub(crate) struct Process(pub(crate) i32);

impl Process {
    /// Memory that is in RAM.
    pub(crate) fn rss_mb(&self) -> Result<f64> {
        Ok(self.number("status", "VmRSS:")? / MB)
    }

    /// The same, with what it shares counted by its share.
    pub(crate) fn pss_mb(&self) -> Result<f64> {
        Ok(self.number("smaps_rollup", "Pss:")? / MB)
    }

    /// The same with its children.
    pub(crate) fn pss_mb_with_children(&self) -> Result<f64> {
        let children = self.read(&format!("task/{}/children", self.0))?;
        let mut sum = self.pss_mb()?;
        for child in children.split_whitespace() {
            sum += Process(child.parse()?).pss_mb()?;
        }
        Ok(sum)
    }

    /// Threads.
    pub(crate) fn threads(&self) -> Result<f64> {
        self.number("status", "Threads:")
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> Result<f64> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.0))?.count() as f64)
    }

    /// How often its threads went to sleep so far; those that have ended are forgotten.
    pub(crate) fn switches(&self) -> Result<f64> {
        let mut sum = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0))? {
            let name = task?.file_name();
            // A thread may end meanwhile.
            sum += self
                .number(&format!("task/{}/status", name.to_string_lossy()), "voluntary_ctxt_switches:")
                .unwrap_or(0.0);
        }
        Ok(sum)
    }

    /// Processor time so far, in user and kernel mode.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = self.read("stat")?;
        // What follows the name, which stands in parentheses, begins with the third field; the 14th and 15th are meant.
        let (_, fields) = stat.rsplit_once(')').context("a name in stat")?;
        let mut fields = fields.split_whitespace().skip(11).map(str::parse::<u64>);
        let (Some(Ok(user)), Some(Ok(system))) = (fields.next(), fields.next()) else {
            anyhow::bail!("no times in {stat:?}");
        };
        Ok(Duration::from_secs(user + system) / u32::try_from(rustix::param::clock_ticks_per_second())?)
    }

    fn number(&self, file: &str, name: &str) -> Result<f64> {
        let text = self.read(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.0);
        std::fs::read_to_string(&path).context(path)
    }
}
