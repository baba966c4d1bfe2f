//! `nap import`

use std::path::Path;

use clap::Args;
use nap_control::{Answer, CloneMethod, ImportReport, ImportSource, Request};
use nap_model::ids::{BranchName, Major};
use serde::Serialize;

use crate::command_error::CommandError;
use crate::context::{Context, unexpected};
use crate::output::{connection, words};

mod uri;

/// Make a branch of a cluster or a database that is elsewhere, which is only read
///
/// SOURCE is a data directory whose server is shut down, a cluster of Debian's (15/main), or the URI of a server that runs:
/// postgresql://HOST/DB copies that database with pg_dump, postgresql://HOST or --cluster the whole cluster with
/// pg_basebackup. The daemon reads it, as the user that it runs as.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// A data directory, 15/main, or postgresql://user@host/db
    source: String,
    /// The new branch's name
    name: BranchName,
    /// All databases of the server that the URI names
    #[arg(long)]
    cluster: bool,
    /// Leave its pg_hba.conf: the rules of the home hold
    #[arg(long)]
    ignore_hba: bool,
    /// The PostgreSQL that a database is restored into [default: the newest]
    #[arg(long, value_name = "MAJOR", conflicts_with = "cluster")]
    pg: Option<u16>,
}

impl Import {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let source = source(&self.source, self.cluster)?;
        if self.pg.is_some() && !matches!(source, ImportSource::Url { cluster: false, .. }) {
            return Err(CommandError::usage("--pg is for a database that is copied by its URI")
                .hint("a whole cluster keeps its version")
                .into());
        }
        if let ImportSource::Url { .. } = source {
            context.output.remark("copying over the network; Ctrl-C gives it up, and leaves nothing");
        }
        let request = Request::Import {
            source,
            name: self.name.to_string(),
            ignore_hba: self.ignore_hba,
            pg: self.pg.map(Major),
        };
        match context.ask(&request)? {
            Answer::Imported(report) => {
                let url = connection::url(&report.connection);
                context.output.result(&Made { report: &report, url: &url }, || {
                    if context.output.is_quiet() { url.clone() } else { say(&report, &url) }
                })
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// For programs.
#[derive(Debug, Serialize)]
struct Made<'a> {
    #[serde(flatten)]
    report: &'a ImportReport,
    /// Without the password.
    url: &'a str,
}

/// What the word means.
fn source(word: &str, cluster: bool) -> Result<ImportSource, CommandError> {
    if word.starts_with("postgresql://") || word.starts_with("postgres://") {
        return uri::source(word, cluster);
    }
    if let Some((version, name)) = debian(word) {
        return Ok(ImportSource::Debian { version, cluster: name.to_owned() });
    }
    if word.contains('/') || Path::new(word).is_dir() {
        let path = std::path::absolute(word)
            .map_err(|error| CommandError::usage(format!("{word} is no path")).caused_by(&error))?;
        return Ok(ImportSource::Directory { path });
    }
    let hint = "it is a directory, a cluster of Debian's such as 15/main, or a URI: postgresql://user@host/db";
    Err(CommandError::usage(format!("\"{word}\" is nothing that can be imported")).hint(hint).into())
}

/// `15/main`
fn debian(word: &str) -> Option<(Major, &str)> {
    let (version, name) = word.split_once('/')?;
    let is_name = !name.is_empty() && !name.starts_with('.');
    let letters = name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'));
    let version = version.parse().ok().filter(|_| is_name && letters)?;
    Some((Major(version), name))
}

fn say(report: &ImportReport, url: &str) -> String {
    let ImportReport { name, major, .. } = report;
    let time = format!("{} ms", report.duration_ms);
    let size = words::size(report.bytes, report.files);
    let mut lines = vec![match report.method {
        Some(CloneMethod::Reflink | CloneMethod::Snapshot) => {
            format!("{name} is a cluster of PostgreSQL {major}: {size} in {time}, sharing their blocks")
        }
        _ => format!("{name} is a cluster of PostgreSQL {major}: copied {size} in {time}"),
    }];
    if report.recovered {
        lines.push("it had not been shut down cleanly, and has recovered from that".to_owned());
    }
    if report.own_rules {
        lines.push(
            "its own pg_hba.conf says who may connect: a peer line lets in only the user of this system that has the \
             role's name (--ignore-hba takes the home's rules)"
                .to_owned(),
        );
    }
    let mut list = |what: &str, names: &[String]| {
        if !names.is_empty() {
            lines.push(format!("{what}: {}", names.join(", ")));
        }
    };
    list("turned off in its configuration", &report.settings_turned_off);
    list("subscriptions that were disabled, for they are the source's", &report.subscriptions_disabled);
    list("prepared transactions, which keep their locks", &report.prepared_transactions);
    list(
        "passwords stored as md5, which cannot be used here until they are set again (ALTER ROLE … PASSWORD)",
        &report.md5_roles,
    );
    lines.extend(report.remarks.iter().map(|remark| words::printable(remark)));
    lines.push(url.to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_directory_a_cluster_or_a_uri() {
        assert_eq!(
            source("15/main", false).unwrap(),
            ImportSource::Debian { version: Major(15), cluster: "main".into() }
        );
        assert_eq!(source("/a/15", false).unwrap(), ImportSource::Directory { path: "/a/15".into() });
        let here = std::env::current_dir().unwrap();
        assert_eq!(source("./15/main", false).unwrap(), ImportSource::Directory { path: here.join("15/main") });
        assert!(matches!(source("postgres://h/d", false).unwrap(), ImportSource::Url { cluster: false, .. }));
        assert!(source("mydb", false).is_err());
    }
}
