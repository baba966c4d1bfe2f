//! One PostgreSQL server per branch: find installations, spawn, know when it is ready, look into it, stop it, and
//! the task that owns each server's state.
//!
//! This room knows paths it is given and the nouns of `nap-model`. It does not know the branch store, the gateway,
//! or any client.

pub mod admin;
pub mod aside;
pub mod children;
pub mod error;
pub mod exit_watch;
pub mod fleet;
pub mod freeze;
pub mod guardian;
pub mod handle;
pub mod in_use;
pub mod initdb;
pub mod install;
pub mod keeper;
mod last_words;
mod launch;
pub mod live;
mod log_end;
mod owner;
pub mod procfs;
pub mod program;
mod ready;
pub mod recover;
pub mod sessions;
pub mod slots;
pub mod spec;
pub mod strays;
mod takeover;
