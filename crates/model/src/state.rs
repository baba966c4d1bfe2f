//! The states of a server and the one table of its transitions. The task that owns a server moves only along
//! this table; the reason is what the log says; `docs/lifecycle.md` is drawn from it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where the server of a branch is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No process, no memory.
    Asleep,
    /// Spawned, not yet ready for connections (this includes crash recovery).
    Waking,
    /// Takes connections.
    Awake,
    /// All its processes are stopped: memory stays, CPU does not. Whoever needs it has it go on within a moment.
    Dozing,
    /// Still takes connections, while what a sleep needs is brought forward.
    Settling,
    /// Told to shut down; takes no connections any more.
    Stopping,
    /// Did not start. It is tried again after a pause.
    Failed,
}

impl State {
    /// All of them, in the order of a life.
    pub const ALL: [State; 7] =
        [State::Asleep, State::Waking, State::Awake, State::Dozing, State::Settling, State::Stopping, State::Failed];

    /// Whether there are processes (or may be).
    pub fn has_processes(self) -> bool {
        !matches!(self, State::Asleep | State::Failed)
    }

    /// The word for it, as `nap ls` shows it.
    pub fn word(self) -> &'static str {
        match self {
            State::Asleep => "asleep",
            State::Waking => "waking",
            State::Awake => "awake",
            State::Dozing => "dozing",
            State::Settling => "settling",
            State::Stopping => "stopping",
            State::Failed => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Why a server goes from one state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A client was let in and needs the server.
    ClientArrived,
    /// `nap wake`, or another command that needs a running server.
    AskedToWake,
    /// Somebody else ran the server, or it crashed: what we know of its roles is stale.
    RolesStale,
    /// Its roles have never been read: it was just made.
    RolesUnknown,
    /// It did not shut down cleanly: it recovers now, so that no client has to wait for that.
    NeedsRecovery,
    /// The pause after a failed start is over, and its roles are not known, so nobody could be let in to wake it.
    PauseOver,
    /// An earlier daemon left it, starting.
    AdoptedStarting,
    /// An earlier daemon left it, shutting down.
    AdoptedStopping,
    /// PostgreSQL says that it is ready.
    Ready,
    /// The postmaster ended before it was ready, or could not be spawned.
    StartFailed,
    /// A server that Napgres did not start runs on the data directory.
    ForeignServer,
    /// It was still queueing for a place when the last client that waited for it had gone.
    NobodyWaits,
    /// Nobody has used it for `sleep_after`.
    Idle,
    /// `nap sleep`, or another command that needs a sleeping server.
    AskedToSleep,
    /// Another server waits for a place among `max_awake`, and this one has idled longest.
    RoomNeeded,
    /// Something in it must not be interrupted.
    GuardStands,
    /// What had to be brought forward is done.
    Settled,
    /// `nap doze`.
    AskedToDoze,
    /// Nobody has used it for `doze_after`.
    DozeDue,
    /// Its processes are stopped: nothing but pinned sessions kept it from sleeping.
    OnlyPinned,
    /// Its processes are stopped: nobody does anything.
    Unused,
    /// Its processes did not all stop in time.
    NotFrozen,
    /// A session that it holds does something.
    ClientSpoke,
    /// A session that it holds has gone, and its server must know.
    SessionLeft,
    /// A login is asked about, and the roles are not known.
    RolesAsked,
    /// The guardian, which would have its processes go on if the daemon died, has died itself.
    GuardianLost,
    /// `doze_after` is `never` now.
    DozeOff,
    /// `nap restart`.
    AskedToRestart,
    /// The daemon ends.
    DaemonStops,
    /// The postmaster ended after a clean shutdown.
    Stopped,
    /// The postmaster ended cleanly and it was not us who asked.
    StoppedByOther,
    /// The postmaster ended without a clean shutdown.
    Crashed,
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// From this state …
    pub from: State,
    /// … for this reason …
    pub reason: Reason,
    /// … to this one.
    pub to: State,
    /// What is logged.
    pub says: &'static str,
}

const fn row(from: State, reason: Reason, to: State, says: &'static str) -> Transition {
    Transition { from, reason, to, says }
}

/// The table. What is not in it does not happen.
pub const TRANSITIONS: &[Transition] = {
    use Reason as R;
    use State::{Asleep, Awake, Dozing, Failed, Settling, Stopping, Waking};
    &[
        row(Asleep, R::ClientArrived, Waking, "a client arrived"),
        row(Asleep, R::AskedToWake, Waking, "asked to wake"),
        row(Asleep, R::RolesStale, Waking, "its roles have to be read again"),
        row(Asleep, R::RolesUnknown, Waking, "its roles have not been read yet"),
        row(Asleep, R::NeedsRecovery, Waking, "it did not shut down cleanly: recovering now"),
        row(Asleep, R::AdoptedStarting, Waking, "found running, left by an earlier daemon"),
        row(Asleep, R::AdoptedStopping, Stopping, "found shutting down, left by an earlier daemon"),
        row(Waking, R::Ready, Awake, "ready for connections"),
        row(Waking, R::StartFailed, Failed, "did not start"),
        row(Waking, R::ForeignServer, Failed, "a server that Napgres did not start holds the data directory"),
        row(Waking, R::NobodyWaits, Asleep, "nobody waits for it any more"),
        row(Waking, R::DaemonStops, Stopping, "the daemon ends"),
        row(Failed, R::PauseOver, Waking, "the pause is over: trying again"),
        row(Failed, R::ClientArrived, Waking, "a client arrived: trying again"),
        row(Failed, R::AskedToWake, Waking, "asked to wake: trying again"),
        row(Failed, R::AskedToSleep, Asleep, "asked to sleep: no more tries"),
        row(Awake, R::Idle, Settling, "idle"),
        row(Awake, R::AskedToSleep, Settling, "asked to sleep"),
        row(Awake, R::RoomNeeded, Settling, "another server needs its place"),
        row(Awake, R::DozeDue, Settling, "not used for doze_after"),
        row(Awake, R::AskedToDoze, Settling, "asked to doze"),
        row(Awake, R::AskedToRestart, Stopping, "asked to restart"),
        row(Awake, R::DaemonStops, Stopping, "the daemon ends"),
        row(Awake, R::StoppedByOther, Asleep, "shut down by somebody else"),
        row(Awake, R::Crashed, Asleep, "crashed"),
        row(Settling, R::ClientArrived, Awake, "a client arrived: stays awake"),
        row(Settling, R::GuardStands, Awake, "a guard stands: stays awake"),
        row(Settling, R::ClientSpoke, Awake, "a session does something: stays awake"),
        row(Settling, R::NotFrozen, Awake, "its processes did not stop: stays awake"),
        row(Settling, R::OnlyPinned, Dozing, "only pinned sessions are left"),
        row(Settling, R::Unused, Dozing, "nobody does anything"),
        row(Settling, R::Settled, Stopping, "settled"),
        row(Settling, R::AskedToRestart, Stopping, "asked to restart"),
        row(Settling, R::DaemonStops, Stopping, "the daemon ends"),
        row(Settling, R::StoppedByOther, Asleep, "shut down by somebody else"),
        row(Settling, R::Crashed, Asleep, "crashed"),
        row(Dozing, R::ClientSpoke, Awake, "a session does something"),
        row(Dozing, R::ClientArrived, Awake, "a client arrived"),
        row(Dozing, R::SessionLeft, Awake, "a session has left"),
        row(Dozing, R::RolesAsked, Awake, "its roles are asked for"),
        row(Dozing, R::GuardStands, Awake, "a guard stands: stays awake"),
        row(Dozing, R::NotFrozen, Awake, "its processes did not stop again"),
        row(Dozing, R::GuardianLost, Awake, "the guardian has died"),
        row(Dozing, R::DozeOff, Awake, "it is not to doze any more"),
        row(Dozing, R::Idle, Settling, "idle"),
        row(Dozing, R::AskedToSleep, Settling, "asked to sleep"),
        row(Dozing, R::RoomNeeded, Settling, "another server needs its place"),
        row(Dozing, R::AskedToRestart, Stopping, "asked to restart"),
        row(Dozing, R::DaemonStops, Stopping, "the daemon ends"),
        row(Dozing, R::StoppedByOther, Asleep, "shut down by somebody else"),
        row(Dozing, R::Crashed, Asleep, "crashed"),
        row(Stopping, R::Stopped, Asleep, "shut down"),
        row(Stopping, R::Crashed, Asleep, "crashed while it shut down"),
    ]
};

/// A step that is not in the table: a slip in the task that owns the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no way leads from {from} by {reason:?}")]
pub struct NoSuchTransition {
    /// Where it was.
    pub from: State,
    /// Why it wanted to go on.
    pub reason: Reason,
}

/// The row that leads on from `from` for `reason`.
pub fn transition(from: State, reason: Reason) -> Result<&'static Transition, NoSuchTransition> {
    TRANSITIONS.iter().find(|row| row.from == from && row.reason == reason).ok_or(NoSuchTransition { from, reason })
}

/// The table as a Mermaid state diagram, for the docs.
pub fn diagram() -> String {
    let mut text = String::from("stateDiagram-v2\n    [*] --> asleep\n");
    for row in TRANSITIONS {
        // Mermaid ends a label at a second colon.
        let says = row.says.replace(':', ",");
        text.push_str(&format!("    {} --> {}: {says}\n", row.from, row.to));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reason_leads_one_way() {
        for (at, row) in TRANSITIONS.iter().enumerate() {
            let same = TRANSITIONS.iter().skip(at + 1).find(|r| r.from == row.from && r.reason == row.reason);
            assert_eq!(same, None, "{row:?}");
        }
    }

    #[test]
    fn every_state_is_reached_and_left() {
        for state in State::ALL {
            assert!(TRANSITIONS.iter().any(|row| row.to == state), "nothing leads to {state}");
            assert!(TRANSITIONS.iter().any(|row| row.from == state), "nothing leads from {state}");
        }
    }

    #[test]
    fn processes_end_only_through_an_end_of_the_postmaster() {
        for row in TRANSITIONS.iter().filter(|row| row.from.has_processes() && !row.to.has_processes()) {
            let ended = matches!(
                row.reason,
                Reason::Stopped
                    | Reason::StoppedByOther
                    | Reason::Crashed
                    | Reason::StartFailed
                    | Reason::ForeignServer
                    | Reason::NobodyWaits
            );
            assert!(ended, "{row:?}");
        }
    }
}
