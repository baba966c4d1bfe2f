//! The nouns of Napgres and its decisions, without any I/O: ids, LSN, states and the table of their
//! transitions, settings, what a role may do, what keeps a server from sleeping.
//!
//! Every other room may import this one; it imports none of them.

pub mod access;
pub mod client_error;
pub mod guard;
pub mod hba;
pub mod ids;
pub mod lsn;
pub mod moment;
pub mod nearest;
pub mod pg_conf;
pub mod pg_control;
pub mod pin;
pub mod postmaster_pid;
pub mod settings;
pub mod snapshot_name;
pub mod span;
pub mod state;
pub mod status;
