//! `nap pool status`

use std::path::PathBuf;

use clap::Args;
use nap_store::StoreError;
use nap_store::pool::{FileSystem, Usage, check_mounted, usage};
use serde::Serialize;

use super::{existing, told};
use crate::command_error::CommandError;
use crate::context::Context;
use crate::output::words;
use crate::pool_health::complaints;

/// Show how much is in the pool, and what it takes of the disk below
#[derive(Debug, Args)]
pub(super) struct Status {}

#[derive(Debug, Serialize)]
struct Report {
    image: PathBuf,
    mount_point: PathBuf,
    filesystem: FileSystem,
    created: String,
    is_mounted: bool,
    usage: Option<Usage>,
    warnings: Vec<String>,
}

impl Status {
    pub(super) fn run(self, context: &Context) -> Result<(), CommandError> {
        let home = &context.home;
        let record = existing(context)?;
        let usage = match check_mounted(home, &record) {
            Ok(()) => Some(usage(home).map_err(told)?),
            Err(StoreError::PoolNotMounted(_)) => None,
            Err(error) => return Err(told(error).into()),
        };
        let complaints = usage.as_ref().map(complaints).unwrap_or_default();
        let report = Report {
            image: home.pool_image(),
            mount_point: home.pool_dir(),
            filesystem: record.filesystem,
            created: record.created.to_string(),
            is_mounted: usage.is_some(),
            usage,
            warnings: complaints.iter().map(|complaint| format!("{}: {}", complaint.what, complaint.cure)).collect(),
        };
        context.output.result(&report, || say(&report))
    }
}

fn say(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| text.push_str(&format!("{label:<12}{value}\n"));
    line("image", &format!("{} ({})", report.image.display(), report.filesystem.name()));
    match &report.usage {
        None => line("mounted", "no: `nap pool mount`, as root"),
        Some(usage) => {
            let size = words::bytes;
            line("mounted", &report.mount_point.display().to_string());
            let full = usage.full_percent();
            let (used, free) = (size(usage.used_bytes), size(usage.free_bytes));
            line("size", &format!("{}: {used} used, {free} free ({full} % full)", size(usage.size_bytes)));
            let (takes, left) = (size(usage.image_bytes), size(usage.below_free_bytes));
            line("disk below", &format!("{takes} taken by the image, {left} free"));
        }
    }
    report.warnings.iter().for_each(|warning| line("warning", warning));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_in_words() {
        let usage = Usage {
            size_bytes: 50 << 30,
            used_bytes: 45 << 30,
            free_bytes: 5 << 30,
            read_only: false,
            image_bytes: 46 << 30,
            below_free_bytes: 3 << 30,
        };
        let mut report = Report {
            image: "/h/pool.img".into(),
            mount_point: "/h/pool".into(),
            filesystem: FileSystem::Btrfs,
            created: "2026-11-29T12:00:00Z".into(),
            is_mounted: true,
            warnings: complaints(&usage).iter().map(|complaint| complaint.what.clone()).collect(),
            usage: Some(usage),
        };
        insta::assert_snapshot!(say(&report));
        (report.usage, report.warnings) = (None, Vec::new());
        assert!(say(&report).ends_with("mounted     no: `nap pool mount`, as root\n"));
    }
}
