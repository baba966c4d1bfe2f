//! `nap up`

use std::time::{Duration, Instant};

use clap::Args;
use nap_control::{Answer, CallError, ConnectionReport, Failure, FailureKind, Request, StatusReport};
use nap_model::ids::Major;

use crate::background::{self, Ready};
use crate::command_error::{CommandError, failure_of};
use crate::context::{Context, unexpected};
use crate::daemon::{self, DaemonOptions};
use crate::invoker;
use crate::lock_holder::lock_holder;
use crate::neighbour;
use crate::output::connection;
use crate::pg_option;
use crate::port_holder::holder;

/// Start the daemon, and make its home on first use
///
/// It returns when the daemon is ready. The first start finds PostgreSQL, chooses a free port, and makes the branch main with a superuser role and a
/// database named after you. It is harmless to repeat.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Stay in the foreground, for services and containers
    #[arg(long)]
    foreground: bool,
    /// The TCP port, written to nap.toml [default: the first start chooses a free one]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65534))]
    port: Option<u16>,
    /// The PostgreSQL major version of new clusters [default: the newest found]
    #[arg(long, value_name = "MAJOR", value_parser = pg_option::parse)]
    pg: Option<Major>,
    /// Go on as this version of nap: the daemon that is up is replaced, and its sessions stay connected
    ///
    /// Those over TLS cannot be handed over: they get 57P01 once they are in no transaction, within ten seconds.
    #[arg(long, conflicts_with_all = ["foreground", "port", "pg"])]
    replace: bool,
    /// The daemon before us has left us everything
    #[arg(long, hide = true)]
    take_over: bool,
    /// Started in the background by another `nap up`, which waits for a line on our standard output
    #[arg(long, hide = true, requires = "foreground")]
    ready_on_stdout: bool,
}

/// A daemon that is up answers at once; one that hangs must not hang us for long.
const LOOK: Duration = Duration::from_secs(10);
/// How long a daemon that was killed may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// The pause between looks at it.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// How long we wait for the daemon of a `nap up` that was quicker than ours, and how often we look.
const OTHER_DEADLINE: Duration = Duration::from_secs(180);
/// Sessions may take ten seconds, and servers are taken over.
const REPLACE_DEADLINE: Duration = Duration::from_secs(120);
const OTHER_PAUSE: Duration = Duration::from_millis(50);

impl Up {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        if self.ready_on_stdout {
            return self.run_in_background(context);
        }
        // What was left holds the control socket of the daemon before: it would be taken for one that does not answer.
        if self.take_over || (self.foreground && daemon::is_left_something()) {
            return Ok(daemon::run(self.options(context, None)).map_err(|error| failure_of(&error))?);
        }
        let running = running(context)?;
        if let Some(status) = running.as_ref().filter(|_| self.replace) {
            replace(context, status)?;
            return announce(context, true);
        }
        if let Some(status) = running {
            self.check_same(&status)?;
            self.check_major(context)?;
            if status.version != env!("CARGO_PKG_VERSION") {
                context.output.remark(&format!(
                    "note: the daemon is of version {}; `nap down` and `nap up` start version {}",
                    status.version,
                    env!("CARGO_PKG_VERSION")
                ));
            }
            if self.foreground {
                let message = format!("already up (PID {})", status.pid);
                return Err(Failure::new(FailureKind::Conflict, message).hint("`nap down` stops it").into());
            }
            announce(context, true)?;
            remark_where_a_bare_psql_goes(context, false);
            return Ok(());
        }
        if daemon::inherits_sockets() && !self.foreground {
            let hint = "the unit's command is `nap up --foreground`; `nap service install` writes one";
            return Err(CommandError::usage("sockets are inherited by a daemon in the foreground only")
                .hint(hint)
                .into());
        }
        if self.foreground {
            return Ok(daemon::run(self.options(context, None)).map_err(|error| failure_of(&error))?);
        }
        // Only the first start chooses a port.
        let chooses = self.port.is_none() && context.settings().is_ok_and(|settings| settings.port == 0);
        match background::start(&context.home, self.port, self.pg) {
            Ok(()) => {
                announce(context, false)?;
                remark_where_a_bare_psql_goes(context, chooses);
                Ok(())
            }
            // It may have been asked for something else.
            Err(_) if another_came_up(context) => self.run(context),
            Err(failure) => Err(self.name_the_holder(context, failure).into()),
        }
    }

    /// The daemon, in the background.
    fn run_in_background(self, context: &Context) -> Result<(), CommandError> {
        let cannot = |error: std::io::Error| Failure::failed("cannot leave the terminal").caused_by(&error);
        let ready = Ready::detach().map_err(cannot)?;
        let pipe = ready.pipe().map_err(cannot)?;
        daemon::run(self.options(context, Some(pipe))).map_err(|error| {
            let failure = failure_of(&error);
            ready.failed(&failure);
            failure.into()
        })
    }

    fn options(&self, context: &Context, ready: Option<std::os::fd::OwnedFd>) -> DaemonOptions {
        DaemonOptions {
            home: context.home.clone(),
            port: self.port,
            pg: self.pg,
            foreground: self.foreground && !self.ready_on_stdout,
            invoking_user: invoker::name(),
            ready,
            takes_over: self.take_over,
        }
    }

    /// A daemon that root started has become another user, who may not see whose a port is; we may.
    fn name_the_holder(&self, context: &Context, failure: Failure) -> Failure {
        if failure.kind != FailureKind::Conflict || !failure.cause.is_empty() {
            return failure;
        }
        let port = self.port.or_else(|| context.settings().ok().map(|settings| settings.port));
        match port.and_then(holder) {
            Some(holder) => failure.because(format!("it is held by {holder}")),
            None => failure,
        }
    }

    /// A daemon on another port than the one asked for is not what was asked for.
    fn check_same(&self, status: &StatusReport) -> Result<(), Failure> {
        match self.port {
            Some(port) if port != status.port => {
                let message = format!("already up on port {}, not {port}", status.port);
                Err(Failure::new(FailureKind::Conflict, message)
                    .hint(format!("`nap down`, then `nap up --port {port}`")))
            }
            _ => Ok(()),
        }
    }

    /// Nor is one whose clusters are of another major.
    fn check_major(&self, context: &Context) -> Result<(), CommandError> {
        if self.pg.is_none() {
            return Ok(());
        }
        match context.ask(&Request::List { disk: false })? {
            Answer::Branches(branches) => {
                Ok(pg_option::check(self.pg, branches.into_iter().map(|branch| (branch.name, branch.major)))?)
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// Has the daemon go on as this program, and waits until it does.
fn replace(context: &Context, status: &StatusReport) -> Result<(), CommandError> {
    // It would refuse what it cannot read, when it is too late.
    context.settings()?;
    let program =
        std::env::current_exe().map_err(|error| Failure::failed("cannot find this program").caused_by(&error))?;
    let request = Request::Replace { program, format: nap_gateway::ESTATE_FORMAT };
    match nap_control::call(&context.home.control_socket(), &request, REPLACE_DEADLINE) {
        Err(CallError::Ended | CallError::Io(_)) => {}
        reply => return Err(unexpected(&reply??)),
    }
    let late = Instant::now() + REPLACE_DEADLINE;
    while Instant::now() < late {
        match running(context) {
            Ok(Some(now)) if now.version == env!("CARGO_PKG_VERSION") => {
                context.output.remark(&format!("version {} in place of {}", now.version, status.version));
                return Ok(());
            }
            Ok(_) => std::thread::sleep(OTHER_PAUSE),
            Err(error) => return Err(error),
        }
    }
    Err(Failure::new(FailureKind::TimedOut, "the daemon did not come up again")
        .hint("`nap logs --daemon` shows why")
        .into())
}

fn running(context: &Context) -> Result<Option<StatusReport>, CommandError> {
    let late = Instant::now() + LAST_BREATH;
    loop {
        match nap_control::call(&context.home.control_socket(), &Request::Status, LOOK) {
            Err(CallError::NotUp) => return Ok(None),
            // One that is just being killed: its sockets are open until the last of its threads is gone.
            Err(CallError::Ended) if Instant::now() < late => std::thread::sleep(LOOK_PAUSE),
            reply => return status_of(reply??),
        }
    }
}

fn status_of(answer: Answer) -> Result<Option<StatusReport>, CommandError> {
    match answer {
        Answer::Status(status) => Ok(Some(status)),
        other => Err(unexpected(&other)),
    }
}

/// Whether somebody else's `nap up` was quicker than ours: then its daemon holds the lock, and comes up.
fn another_came_up(context: &Context) -> bool {
    let deadline = Instant::now() + OTHER_DEADLINE;
    while lock_holder(&context.home).is_some() && Instant::now() < deadline {
        match running(context) {
            Ok(Some(_)) => return true,
            Ok(None) => std::thread::sleep(OTHER_PAUSE),
            Err(_) => return false,
        }
    }
    false
}

fn announce(context: &Context, already_up: bool) -> Result<(), CommandError> {
    let report = match context.ask(&Request::Connection { branch: None, database: None })? {
        Answer::Connection(report) => report,
        other => return Err(unexpected(&other)),
    };
    if context.output.is_quiet() {
        return Ok(());
    }
    let json = serde_json::json!({ "already_up": already_up, "url": connection::url(&report), "connection": report });
    context
        .output
        .result(&json, || say(&report, already_up, &context.home.root().display().to_string(), &invoker::name()))?;
    Ok(())
}

/// It is up; that a bare psql does not come here is no failure. Another PostgreSQL on the port where clients look first is
/// told of once: when it decided where we are.
fn remark_where_a_bare_psql_goes(context: &Context, port_was_chosen: bool) {
    if context.output.is_quiet() {
        return;
    }
    if port_was_chosen
        && let Ok(port) = context.settings().map(|settings| settings.port)
        && let Some(neighbour) = neighbour::beside(port)
    {
        return context.output.remark(&format!(
            "note: {neighbour}, and stays as it is: a bare psql goes there, and comes here after `eval \"$(nap env)\"`. \
             This home has port {port} from now on"
        ));
    }
    if let Ok(Answer::Status(status)) = context.ask_within(&Request::Status, LOOK)
        && let Some(why) = status.libpq_socket_missing
    {
        context.output.remark(&format!("note: a bare psql comes here only after `eval \"$(nap env)\"`: {why}"));
    }
}

fn say(report: &ConnectionReport, already_up: bool, home: &str, user: &str) -> String {
    let mut text = String::from(if already_up { "already up" } else { "up" });
    text.push_str(&format!(" on localhost, port {}; home {home}\n\n", report.port));
    if report.default_socket_directory.is_some() && report.role == user && report.database == user {
        let port = if report.port == 5432 { String::new() } else { format!(" -p {}", report.port) };
        text.push_str(&format!("    psql{port}\n"));
    }
    if let Some(line) = connection::psql_through_door(report) {
        text.push_str(&format!("    {line}\n"));
    }
    // Without `psql` before it: a command line shows its password to everybody who can run ps.
    text.push_str(&format!("    {}\n\n", connection::url(report)));
    text.push_str(&format!(
        "PostgreSQL starts when a client connects to {}, and sleeps when it is idle: `nap ls` shows it.\n",
        report.branch
    ));
    text.push_str(
        "`nap psql` connects, `eval \"$(nap env)\"` makes every client of this shell do so, `nap down` stops it.\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_is_told_how_to_connect_and_how_to_stop() {
        let mut report = connection::tests::report();
        report.role = "alice".into();
        report.database = "alice".into();
        report.password = Some("s3cret".into());
        report.default_socket_directory = Some("/var/run/postgresql".into());
        insta::assert_snapshot!(say(&report, false, "/home/alice/.local/share/napgres", "alice"));
        report.port = 5432;
        assert!(say(&report, true, "/h", "alice").contains("\n    psql\n"));
        assert!(!say(&report, true, "/h", "bob").contains("\n    psql\n"), "bob's bare psql would name bob");
    }
}
