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
mod certificate;
mod client;
mod daemon;
mod faults;
mod files;
mod home;
mod machine;
mod pool;
mod sockets;
mod system;

pub(crate) use faults::markdown;
use faults::{FAULTS, Fault};

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

/// Its name is that of the fault that was looked for.
impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self { name: "", verdict: Verdict::Ok, what: what.into(), cure: None }
    }

    fn warn(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name: "", verdict: Verdict::Warn, what: what.into(), cure: Some(cure.into()) }
    }

    fn fail(what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name: "", verdict: Verdict::Fail, what: what.into(), cure: Some(cure.into()) }
    }
}

/// What the checks look at.
struct Patient<'a> {
    context: &'a Context,
    /// The defaults, if nap.toml cannot be used.
    settings: Settings,
    /// Why it cannot.
    settings_problem: Option<Failure>,
    /// What the daemon says of itself; none if it is not up or does not answer.
    status: Option<StatusReport>,
}

/// A daemon that does not answer so long is ill.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

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
    let (settings, settings_problem) = match context.settings() {
        Ok(settings) => (settings, None),
        Err(failure) => (Settings::default(), Some(failure)),
    };
    let status = match context.ask_within(&Request::Status, ANSWER_DEADLINE) {
        Ok(Answer::Status(status)) => Some(status),
        _ => None,
    };
    let patient = Patient { context, settings, settings_problem, status };
    let look = |fault: &Fault| -> Vec<Finding> {
        (fault.look)(&patient).into_iter().map(|finding| Finding { name: fault.name, ..finding }).collect()
    };
    FAULTS.iter().flat_map(look).collect()
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
        let finding = Finding { name: "home", ..Finding::fail("it is read-only\nreally", "remount it") };
        let said = anstream::adapter::strip_str(&say(&finding)).to_string();
        assert_eq!(said, "FAIL  home: it is read-only\n        really\n        cure: remount it\n");
    }
}
