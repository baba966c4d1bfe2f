//! `nap doctor`

use std::time::Duration;

use clap::Args;
use nap_control::{Answer, Failure, Request, StatusReport};
use nap_model::settings::Settings;
use owo_colors::OwoColorize as _;
use serde::Serialize;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::output::words;

pub(crate) mod branches;
mod daemon;
mod home;
mod sockets;
mod system;

/// Look for what is, or could go, wrong, and say how to mend it
///
/// It exits with 1 if something fails; a warning is no failure.
#[derive(Debug, Args)]
pub(crate) struct Doctor {}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    name: &'static str,
    verdict: Verdict,
    what: String,
    cure: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, what: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, what: what.into(), cure: None }
    }

    fn warn(name: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, what: what.into(), cure: Some(cure.into()) }
    }

    fn fail(name: &'static str, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, what: what.into(), cure: Some(cure.into()) }
    }
}

/// What the checks look at.
struct Patient<'a> {
    context: &'a Context,
    settings: Settings,
    /// What the daemon says of itself; none if it is not up or does not answer.
    status: Option<StatusReport>,
}

/// A daemon that does not answer so long is ill.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

type Check = fn(&Patient<'_>) -> Vec<Finding>;

/// In the order of what depends on what.
const CHECKS: &[Check] = &[
    system::postgres,
    system::run_as,
    system::nap_on_path,
    home::place,
    home::space,
    home::clones,
    home::leftovers,
    daemon::up,
    daemon::port,
    sockets::default_directory,
    sockets::stale_lock,
    sockets::doors,
    branches::records,
    branches::default_branch,
    branches::failed,
];

impl Doctor {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let findings = examine(context);
        context.output.result(&findings, || findings.iter().map(say).collect())?;
        let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
        match failed {
            0 => Ok(()),
            failed => {
                let what = words::count(failed as u64, "check", "checks");
                Err(Failure::failed(format!("{what} failed")).into())
            }
        }
    }
}

fn examine(context: &Context) -> Vec<Finding> {
    let (settings, mut findings) = match context.settings() {
        Ok(settings) => (settings, vec![Finding::ok("settings", context.home.nap_toml().display().to_string())]),
        Err(failure) => {
            let cure = "correct the file, then `nap config check`";
            (Settings::default(), vec![Finding::fail("settings", failure.to_string(), cure)])
        }
    };
    let status = match context.ask_within(&Request::Status, ANSWER_DEADLINE) {
        Ok(Answer::Status(status)) => Some(status),
        _ => None,
    };
    let patient = Patient { context, settings, status };
    findings.extend(CHECKS.iter().flat_map(|check| check(&patient)));
    findings
}

fn say(finding: &Finding) -> String {
    let mark = match finding.verdict {
        Verdict::Ok => "ok  ".green().to_string(),
        Verdict::Warn => "warn".yellow().to_string(),
        Verdict::Fail => "FAIL".red().bold().to_string(),
    };
    let what = words::printable(finding.what.trim_end()).replace('\n', "\n        ");
    let cure = finding.cure.as_ref().map(|cure| format!("        cure: {cure}\n")).unwrap_or_default();
    format!("{mark}  {}: {what}\n{cure}", finding.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_has_its_cure_below() {
        let finding = Finding::fail("home", "it is read-only\nreally", "remount it");
        let said = anstream::adapter::strip_str(&say(&finding)).to_string();
        assert_eq!(said, "FAIL  home: it is read-only\n        really\n        cure: remount it\n");
    }
}
