//! The branch tree on disk: the home's layout, branches and their records, clones, templates, trash.
//!
//! Plain files are the catalogue. What shows in `branches/` is whole: it was made in `staging/`, made durable and
//! renamed. All calls block; callers on an async runtime use `spawn_blocking`. This room knows `nap-model` and no
//! other; it starts no process and opens no socket.

pub mod arrival;
mod backup_label;
pub mod branches;
pub mod clone;
mod cluster;
pub mod config;
pub mod create;
pub mod departure;
pub mod disk_use;
pub mod draft;
pub mod durable;
mod edit;
pub mod error;
mod fault;
#[cfg(test)]
mod fixture;
pub mod history;
pub mod home;
mod inodes;
#[cfg(test)]
mod kill_tests;
pub mod lock;
pub mod migrate;
#[cfg(test)]
mod migrate_tests;
mod own_life;
pub mod past;
pub mod pool;
mod prepared;
pub mod record;
mod rename;
pub mod replace;
mod replay;
pub mod roles;
pub mod rotate;
mod run_dir;
pub mod same_tree;
mod skip;
pub mod snapshot;
pub mod space;
mod staging;
pub mod store;
mod subvolume;
pub mod tablespaces;
pub mod templates;
mod wal;
pub mod way;
mod whole;

pub use arrival::Arrival;
pub use branches::NewBranch;
pub use clone::{CloneMethod, Cloned, probe_reflink, probe_snapshot};
pub use create::{Owner, make_home};
pub use departure::{Departure, places_of_the_half_made};
pub use disk_use::{DiskUse, disk_use};
pub use draft::Draft;
pub use error::StoreError;
pub use history::History;
pub use home::{BranchDir, Home};
pub use inodes::{FREE_AT_LEAST_PERCENT, Inodes};
pub use lock::{HomeLock, LockError};
pub use migrate::migrate;
pub use past::{Recovery, Until};
pub use record::{BranchRecord, Changes};
pub use replace::Replaced;
pub use replay::makes_own_tablespace;
pub use snapshot::{NewSnapshot, Snapshot};
pub use store::{Branch, Branches, BrokenBranch, Store};
pub use templates::Template;
pub use way::Way;
