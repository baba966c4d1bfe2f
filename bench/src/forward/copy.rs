//! COPY of much data, out and in, by psql. Rows of a kilobyte that the server makes up, or throws away, so that what is
//! measured is neither disk nor parser.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::contestants::Contestant;
use crate::forward::load::PLAIN;
use crate::forward::ways::{DIRECT, Way, Ways};
use crate::report::Times;

/// Of one row, its newline included.
const ROW_BYTES: u64 = 1024;

/// Where the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Out,
    In,
}

/// How long it took each way.
pub(crate) struct Copied {
    pub(crate) flow: Flow,
    pub(crate) rows: Vec<(String, Times)>,
}

/// What is copied.
pub(crate) struct Copying<'a> {
    ways: &'a Ways,
    out: String,
    file: PathBuf,
}

impl<'a> Copying<'a> {
    pub(crate) fn prepare(ways: &'a Ways, mib: u64) -> Result<Self> {
        ways.prepare("create table sink (line text)")?;
        let rows = mib * (1 << 20) / ROW_BYTES;
        let out = format!("copy (select repeat('x', {}) from generate_series(1, {rows})) to stdout", ROW_BYTES - 1);
        let copying = Self { ways, out, file: ways.cluster().sockets.with_file_name("rows") };
        let direct = ways.all().iter().filter(|way| way.name == DIRECT);
        for way in direct {
            copying.psql(way, &copying.out, Stdio::null(), File::create(&copying.file)?.into())?;
        }
        Ok(copying)
    }

    pub(crate) fn contestants(&self, flow: Flow) -> Vec<Box<dyn Contestant + '_>> {
        let turn = |way| -> Box<dyn Contestant + '_> { Box::new(Turn { copying: self, way, flow }) };
        self.ways.all().iter().map(turn).collect()
    }

    fn psql(&self, way: &Way, statement: &str, from: Stdio, to: Stdio) -> Result<()> {
        let mut psql = self.ways.client("psql", way, PLAIN, &["-Xqc", statement]);
        let status = psql.stdin(from).stdout(to).status()?;
        anyhow::ensure!(status.success(), "psql: {status}");
        Ok(())
    }
}

/// One way's turns.
struct Turn<'a> {
    copying: &'a Copying<'a>,
    way: &'a Way,
    flow: Flow,
}

impl Contestant for Turn<'_> {
    fn name(&self) -> &str {
        self.way.name
    }

    fn round(&mut self) -> Result<Duration> {
        let started = Instant::now();
        match self.flow {
            Flow::Out => self.copying.psql(self.way, &self.copying.out, Stdio::null(), Stdio::null())?,
            Flow::In => {
                let from = File::open(&self.copying.file)?.into();
                self.copying.psql(self.way, "copy sink from stdin where false", from, Stdio::null())?;
            }
        }
        Ok(started.elapsed())
    }
}

/// How fast it went.
pub(crate) fn table(mib: u64, copied: &[Copied]) -> String {
    let mut text = format!("| COPY of {mib} MiB | MiB/s | × direct |\n|---|--:|--:|\n");
    for Copied { flow, rows } in copied {
        let flow = if *flow == Flow::Out { "out" } else { "in" };
        let direct = rows.iter().find(|(name, _)| name == DIRECT).map_or(f64::NAN, |(_, times)| times.median_ms());
        for (name, times) in rows {
            let rate = mib as f64 * 1_000.0 / times.median_ms();
            text.push_str(&format!("| {flow}, {name} | {rate:.0} | {:.2} |\n", direct / times.median_ms()));
        }
    }
    text
}
