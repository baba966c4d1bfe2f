//! The control API: requests in, state out, no decisions.
//!
//! A request is one line of JSON on the Unix socket `HOME/control.sock`, and so is the reply; a connection carries
//! one of each. The socket is open to the home's owner and root only, and everything on it is bounded.

mod client;
mod failure;
mod line;
mod peer;
mod report;
mod request;
mod server;

pub use client::{CallError, call, listener_pid};
pub use failure::{Failure, FailureKind};
pub use line::{REPLY_MAX_BYTES, REQUEST_MAX_BYTES};
pub use report::{
    Answer, BranchReport, CloneMethod, ConfigChange, ConfigReport, ConnectionReport, Counts, CreatedReport, DiskReport,
    ExportReport, HistoryReport, ImportReport, InodesReport, LoweredReport, PostgresReport, Reply, SESSIONS_SHOWN_MAX,
    SessionReport, SnapshotReport, StatusReport, TakenReport,
};
pub use request::{Children, ExportFormat, ImportSource, Request, Variables};
pub use server::{Handler, listen, serve};
