//! What a command works with: the home, the output, and the daemon at the other end of the socket.

use std::time::Duration;

use nap_control::{Answer, CallError, Failure, FailureKind, Request};
use nap_model::settings::Settings;
use nap_store::Home;

use crate::cli::Global;
use crate::command_error::{CommandError, failure_of_store};
use crate::output::Output;

/// For questions that the daemon answers from memory.
const QUICK: Duration = Duration::from_secs(30);
/// For what may take as long as it takes (a copy of a large cluster, a recovery). The daemon has deadlines of its
/// own, and its end ends the wait.
const PATIENT: Duration = Duration::from_secs(24 * 60 * 60);

/// What a command works with.
pub(crate) struct Context {
    /// Which daemon.
    pub(crate) home: Home,
    /// Where results go.
    pub(crate) output: Output,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        Self { home: Home::locate(global.home), output: Output::new(global.json, global.quiet) }
    }

    /// Asks the daemon.
    pub(crate) fn ask(&self, request: &Request) -> Result<Answer, CommandError> {
        self.ask_within(request, patience(request))
    }

    /// Asks the daemon, and gives up after this long.
    pub(crate) fn ask_within(&self, request: &Request, timeout: Duration) -> Result<Answer, CommandError> {
        let mut tries = ASKED_AGAIN_MAX;
        loop {
            match nap_control::call(&self.home.control_socket(), request, timeout) {
                // The daemon has just gone on as another program, which answers the next one.
                Err(CallError::Ended) if only_asks(request) && tries > 0 => tries -= 1,
                reply => return Ok(reply??),
            }
        }
    }

    /// Asks a daemon that need not be there.
    pub(crate) fn ask_if_up(&self, request: &Request) -> Result<Option<Answer>, CommandError> {
        match nap_control::call(&self.home.control_socket(), request, patience(request)) {
            Err(CallError::NotUp) => Ok(None),
            reply => Ok(Some(reply??)),
        }
    }

    /// The text of nap.toml; a missing file is an empty one.
    pub(crate) fn settings_text(&self) -> Result<String, Failure> {
        nap_store::config::text(&self.home).map_err(|error| failure_of_store(&error))
    }

    /// The settings of nap.toml.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        Settings::parse(&self.settings_text()?).map_err(|error| {
            Failure::failed(format!("{} cannot be used", self.home.nap_toml().display()))
                .caused_by(&error)
                .hint("`nap config set` changes a setting; `nap config check` looks at the file again")
        })
    }
}

/// A daemon that ends again and again has another trouble.
const ASKED_AGAIN_MAX: u32 = 5;

/// Whether it changes nothing, so that it can be asked again.
fn only_asks(request: &Request) -> bool {
    matches!(
        request,
        Request::Status
            | Request::List { .. }
            | Request::Connection { .. }
            | Request::Sessions { .. }
            | Request::History { .. }
    )
}

fn patience(request: &Request) -> Duration {
    match request {
        Request::Status | Request::List { disk: false } | Request::Connection { .. } | Request::ReloadConfig => QUICK,
        Request::History { .. } | Request::List { disk: true } => PATIENT,
        Request::SetBranch { .. } | Request::Sessions { .. } | Request::EndSession { .. } => QUICK,
        Request::Wake { .. }
        | Request::Sleep { .. }
        | Request::Doze { .. }
        | Request::Restart { .. }
        | Request::ParkSessions { .. }
        | Request::CreateBranch { .. }
        | Request::RemoveBranch { .. }
        | Request::ResetBranch { .. }
        | Request::RestoreBranch { .. }
        | Request::RenameBranch { .. }
        | Request::TakeSnapshot { .. }
        | Request::RemoveSnapshot { .. }
        | Request::Import { .. }
        | Request::Export { .. }
        | Request::Replace { .. }
        | Request::Down => PATIENT,
    }
}

/// A daemon that answers another question than the one it was asked is of another version.
pub(crate) fn unexpected(answer: &Answer) -> CommandError {
    let word = serde_json::to_value(answer)
        .ok()
        .and_then(|value| value.get("answer").and_then(|word| word.as_str().map(str::to_owned)))
        .unwrap_or_default();
    Failure::new(FailureKind::Failed, format!("the daemon gave an answer of another kind (\"{word}\")"))
        .hint("if `nap` was updated, `nap down` and `nap up` start the new version")
        .into()
}
