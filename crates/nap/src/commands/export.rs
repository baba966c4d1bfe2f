//! `nap export`

use std::path::{Path, PathBuf};

use clap::Args;
use nap_control::{Answer, ExportFormat, ExportReport, Request};

use crate::command_error::CommandError;
use crate::complete;
use crate::context::{Context, unexpected};
use crate::output::words;
use crate::target::Target;

/// Write a branch to a data directory, or a database of it to a dump
///
/// A destination that ends in .dump, .sql or .tar is a dump of one database, for pg_restore or psql; so is any other if a
/// database is named (in pg_dump's custom format), and else it is a data directory, shut down cleanly, that a stock
/// `pg_ctl -D DEST start` starts. The branch stays as it is, and goes on if it is
/// in use. The daemon writes it, as the user that it runs as; what is there already is never replaced.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// A branch, or a database of it: dev, shop@dev
    #[arg(value_name = "DB@BRANCH", add = complete::target())]
    target: String,
    /// Where to
    dest: PathBuf,
    /// A dump in pg_dump's custom format, however the destination is called
    #[arg(long)]
    dump: bool,
}

impl Export {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let Target { branch, database } =
            self.target.parse().map_err(|error: crate::target::BadTarget| CommandError::usage(error.to_string()))?;
        let format = format(&self.dest, self.dump || database.is_some());
        let to = std::path::absolute(&self.dest)
            .map_err(|error| CommandError::usage(format!("{} is no path", self.dest.display())).caused_by(&error))?;
        match context.ask(&Request::Export { branch, database, to, format })? {
            Answer::Exported(report) => context.output.result(&report, || say(&report)),
            other => Err(unexpected(&other)),
        }
    }
}

fn format(dest: &Path, is_dump: bool) -> ExportFormat {
    match dest.extension().and_then(|extension| extension.to_str()) {
        Some("sql") => ExportFormat::Plain,
        Some("tar") => ExportFormat::Tar,
        Some("dump") => ExportFormat::Custom,
        _ if is_dump => ExportFormat::Custom,
        _ => ExportFormat::Directory,
    }
}

fn say(report: &ExportReport) -> String {
    let ExportReport { branch, path, owner, major, .. } = report;
    let size = words::bytes(report.bytes);
    let path = path.display();
    match &report.database {
        Some(database) => format!("{database}@{branch} is in {path}: {size}, which belongs to {owner}"),
        None => {
            let mut lines = vec![
                format!(
                    "{branch} is in {path}: {size}, a data directory of PostgreSQL {major} that belongs to {owner}"
                ),
                format!("as that user: pg_ctl -D {path} start"),
            ];
            if report.subscriptions_disabled != Some(0) {
                let if_any = if report.subscriptions_disabled.is_none() { ", if it has any" } else { "" };
                lines.push(format!(
                    "its subscriptions are disabled{if_any}: a copy would take the branch's changes away"
                ));
            }
            lines.join("\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_what_it_is_to_be() {
        assert_eq!(format(Path::new("/a/b.dump"), false), ExportFormat::Custom);
        assert_eq!(format(Path::new("/a/b.sql"), false), ExportFormat::Plain);
        assert_eq!(format(Path::new("/a/b"), false), ExportFormat::Directory);
        assert_eq!(format(Path::new("/a/b"), true), ExportFormat::Custom);
    }
}
