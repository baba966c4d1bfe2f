//! Why an idle session cannot be parked: something of it would be lost.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A reason why a session keeps its backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pin {
    /// Something is under way: a query, a pipeline, a COPY.
    Active,
    /// In a transaction, failed or not.
    InTransaction,
    /// Temporary tables, functions, types.
    TemporaryObjects,
    /// A cursor WITH HOLD.
    HeldCursor,
    /// Advisory or other locks that outlive a transaction.
    Locks,
    /// LISTEN, with a client_encoding that is not the database's: what the hub hears would have to be converted.
    Listens,
    /// A replication origin is set up.
    ReplicationOrigin,
    /// A backup was begun in it.
    Backup,
    /// A library is loaded that may keep something to itself.
    Library,
    /// A PREPARE that came together with other commands: only the whole text is known.
    PrepareAmongOthers,
    /// `SET nap.keep_awake = on`.
    KeepAwake,
    /// A statement longer than what is kept, or more names of settings.
    TooMuch,
    /// A replication connection.
    Replication,
    /// Another backend that was given its state did not come to be the same.
    NotRestored,
    /// It could not be asked.
    NotAsked,
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Pin::Active => "active",
            Pin::InTransaction => "in a transaction",
            Pin::TemporaryObjects => "temporary objects",
            Pin::HeldCursor => "a cursor WITH HOLD",
            Pin::Locks => "session-level locks",
            Pin::Listens => "LISTEN in another encoding",
            Pin::ReplicationOrigin => "a replication origin",
            Pin::Backup => "a backup",
            Pin::Library => "a loaded library",
            Pin::PrepareAmongOthers => "a PREPARE among other commands",
            Pin::KeepAwake => "nap.keep_awake",
            Pin::TooMuch => "too much to keep",
            Pin::Replication => "a replication connection",
            Pin::NotRestored => "state that cannot be restored",
            Pin::NotAsked => "state that cannot be asked for",
        })
    }
}
