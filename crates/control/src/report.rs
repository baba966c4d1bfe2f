//! What the daemon answers.

use std::path::PathBuf;

use nap_model::ids::{BranchId, BranchName, Major};
use nap_model::lsn::Lsn;
use nap_model::pin::Pin;
use nap_model::snapshot_name::SnapshotName;
use nap_model::span::Span;
use nap_model::status::ServerStatus;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What comes back for a request.
pub type Reply = Result<Answer, Failure>;

/// A status names no more sessions than these, so that it stays far below the longest reply; its counts are whole.
pub const SESSIONS_SHOWN_MAX: usize = 10_000;

/// The answer to a request that went well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "report", rename_all = "kebab-case")]
pub enum Answer {
    /// It is done, and there is nothing to tell.
    Done,
    /// The daemon itself.
    Status(StatusReport),
    /// All branches, by name.
    Branches(Vec<BranchReport>),
    /// A branch was made.
    Created(CreatedReport),
    /// A snapshot was taken.
    Snapshot(TakenReport),
    /// What is kept of a branch's past.
    History(HistoryReport),
    /// A branch came from elsewhere.
    Imported(ImportReport),
    /// Something of a branch lies outside the home.
    Exported(ExportReport),
    /// Branches were removed.
    Removed(Vec<BranchName>),
    /// How to connect.
    Connection(ConnectionReport),
    /// Settings were changed.
    Config(ConfigReport),
    /// Sessions, oldest first, [`SESSIONS_SHOWN_MAX`] at most.
    Sessions(Vec<SessionReport>),
}

/// A branch and its server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BranchReport {
    /// Its name.
    pub name: BranchName,
    /// What stays when it is renamed.
    pub id: BranchId,
    /// PostgreSQL's major version.
    pub major: Major,
    /// What it was cloned from; none for a root.
    pub parent: Option<BranchName>,
    /// Where in its parent's log it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branched_at: Option<Lsn>,
    /// When it was made (RFC 3339).
    pub created: String,
    /// When it is removed (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// It shows its parent at this moment, is read-only, and goes with its last session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shows: Option<String>,
    /// It is not removed.
    #[serde(default)]
    pub protected: bool,
    /// Whether it is the branch of clients that name none.
    pub default: bool,
    /// The state of its server.
    pub status: ServerStatus,
    /// How long after its last session it goes to sleep.
    pub sleep_after: Span,
    /// The socket directory where every client is on this branch.
    pub door: Option<PathBuf>,
    /// Its own port, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// When it was used last (RFC 3339); none: nobody has used it, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
    /// What it takes of the disk, if that was asked for and found out in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskReport>,
}

/// What a branch takes of the disk, with its log and its snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// What is freed if it goes.
    pub own_bytes: u64,
    /// What other branches have too, or several of its own snapshots.
    pub shared_bytes: u64,
}

/// The daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its home.
    pub home: PathBuf,
    /// Its TCP port, and the number in the names of its sockets.
    pub port: u16,
    /// The addresses it listens on.
    pub listen_addresses: Vec<String>,
    /// The directories with sockets for clients that name no branch by their door.
    pub socket_directories: Vec<PathBuf>,
    /// Why none of them is libpq's default directory, if that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libpq_socket_missing: Option<String>,
    /// What the limit of open files makes of `max_connections`, if it is too low for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections_lowered: Option<LoweredReport>,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// The PostgreSQL installations that it found, newest first.
    pub postgres: Vec<PostgresReport>,
    /// Sums.
    pub counts: Counts,
    /// The sessions, oldest first, [`SESSIONS_SHOWN_MAX`] at most.
    pub sessions: Vec<SessionReport>,
}

/// A `max_connections` that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoweredReport {
    /// What it is set to.
    pub set: u32,
    /// What holds.
    pub to: u32,
    /// The daemon's limit of open files.
    pub open_files: u64,
}

/// An installation of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresReport {
    /// Its major version.
    pub major: Major,
    /// The directory with its programs.
    pub bin: PathBuf,
    /// Its whole version, such as `15.14`.
    pub version: String,
}

/// Sums over the whole home.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Branches.
    pub branches: u32,
    /// Branches whose server has processes.
    pub awake: u32,
    /// Branches whose server did not start.
    pub failed: u32,
    /// Sessions.
    pub sessions: u32,
    /// Clients that wait for a server to wake.
    pub waiting: u32,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Its number in this daemon's life.
    pub id: u64,
    /// The branch.
    pub branch: BranchName,
    /// The database; none for physical replication.
    pub database: Option<String>,
    /// The role.
    pub role: String,
    /// Where the client is: an address with port, or `socket` and the pid if known.
    pub client: String,
    /// The word for its state: those of `pg_stat_activity`, `starting`, and `parked`.
    pub state: String,
    /// How long its client has sent nothing but pings.
    #[serde(default)]
    pub idle_ms: u64,
    /// Why it could not be parked when that was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
}

/// How a branch's files came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloneMethod {
    /// They were had in one go, and share their blocks with the parent's.
    Snapshot,
    /// They were cloned one by one, and share their blocks with the parent's.
    Reflink,
    /// They were copied, byte by byte.
    Copy,
}

/// A branch that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedReport {
    /// Its name.
    pub name: BranchName,
    /// What it was cloned from.
    pub parent: BranchName,
    /// At which place of the parent's log.
    pub lsn: Lsn,
    /// How.
    pub method: CloneMethod,
    /// The length of all files; none: they came as a whole, and nobody has looked at each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many files.
    pub files: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether the parent was in use: then the branch begins with a crash recovery.
    #[serde(default)]
    pub parent_in_use: bool,
    /// How long the parent stood still for it; none: it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_us: Option<u64>,
    /// The prepared transactions that it has from its parent, with their locks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepared_transactions: Vec<String>,
    /// How many subscriptions are enabled in the parent and not in it; none: that was not known.
    #[serde(default)]
    pub subscriptions_disabled: Option<u32>,
    /// How to connect (without the password).
    pub connection: ConnectionReport,
}

/// A branch that came from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Its name.
    pub name: BranchName,
    /// PostgreSQL's major version.
    pub major: Major,
    /// How its files came; none: through a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<CloneMethod>,
    /// The length of all files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many files.
    pub files: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether it was not shut down cleanly, and has recovered from that.
    pub recovered: bool,
    /// Whether it has its own rules for connections; otherwise those of the home hold.
    pub own_rules: bool,
    /// The settings of its configuration that were turned off.
    #[serde(default)]
    pub settings_turned_off: Vec<String>,
    /// Roles whose passwords are stored as md5: they cannot log in with them.
    #[serde(default)]
    pub md5_roles: Vec<String>,
    /// The prepared transactions that it has, with their locks.
    #[serde(default)]
    pub prepared_transactions: Vec<String>,
    /// The subscriptions that were enabled, and are not any more.
    #[serde(default)]
    pub subscriptions_disabled: Vec<String>,
    /// What else is different from the source, as sentences.
    #[serde(default)]
    pub remarks: Vec<String>,
    /// How to connect (without the password).
    pub connection: ConnectionReport,
}

/// Something of a branch that lies outside the home now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportReport {
    /// The branch.
    pub branch: BranchName,
    /// The database; none: all of it.
    pub database: Option<String>,
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// PostgreSQL's major version.
    pub major: Major,
    /// The user that it belongs to.
    pub owner: String,
    /// How many subscriptions are enabled in the branch and not in it; none: that was not known.
    #[serde(default)]
    pub subscriptions_disabled: Option<u32>,
}

/// What is kept of a branch's past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// The branch.
    pub branch: BranchName,
    /// How far back it is kept.
    pub span: Span,
    /// Whether the file system can clone: otherwise there is none.
    pub is_kept: bool,
    /// Its snapshots, oldest first: the past begins at the first of them.
    pub snapshots: Vec<SnapshotReport>,
    /// Where its log ends.
    pub end: Option<Lsn>,
    /// How many segments of its log are kept.
    pub segments: u64,
    /// The inodes of its file system, if that has a bound of them.
    #[serde(default)]
    pub inodes: Option<InodesReport>,
}

/// A file of a snapshot costs one, but no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InodesReport {
    /// How many can still be made.
    pub free: u64,
    /// How many there can be.
    pub total: u64,
    /// So much of them history leaves free: then its oldest snapshots go.
    pub history_leaves_percent: u64,
}

/// A snapshot that was just taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenReport {
    /// Of which branch.
    pub branch: BranchName,
    /// Its name.
    pub name: SnapshotName,
    /// Where in the branch's log.
    pub lsn: Lsn,
    /// How its files came.
    pub method: CloneMethod,
    /// Bytes of its files together; none: they came as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many they are.
    pub files: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// How long the branch stood still, in microseconds; none: it slept, or went on.
    pub pause_us: Option<u64>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// The name that somebody gave to it: then it is kept until it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<SnapshotName>,
    /// Where in the log.
    pub lsn: Lsn,
    /// When it was taken (RFC 3339).
    pub taken: String,
    /// How many files it has.
    #[serde(default)]
    pub files: u64,
}

/// How to connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// The branch.
    pub branch: BranchName,
    /// Whether it is the default branch.
    pub default: bool,
    /// The host for TCP.
    pub host: String,
    /// The port, for TCP and sockets.
    pub port: u16,
    /// The role.
    pub role: String,
    /// The database.
    pub database: String,
    /// The role's password, if Napgres drew it and it has not been changed since.
    pub password: Option<String>,
    /// The socket directory where every client is on this branch.
    pub door: Option<PathBuf>,
    /// libpq's default socket directory, if our socket is there: then a bare `psql` works.
    pub default_socket_directory: Option<PathBuf>,
    /// Whether TCP clients can have TLS.
    pub ssl: bool,
    /// What the server's certificate can be verified with, if Napgres made it.
    pub root_certificate: Option<PathBuf>,
}

/// One setting that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// Its name.
    pub name: String,
    /// Its value now, as TOML; none: back to the default.
    pub value: Option<String>,
    /// Whether it takes effect only when the daemon starts next.
    pub at_restart: bool,
}

/// The settings that were changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReport {
    /// Each of them.
    pub changes: Vec<ConfigChange>,
}
