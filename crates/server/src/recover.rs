//! Recovery to a moment of the past, of files that no other server has: a server runs on them for as long as that takes, lets
//! nobody in, and is shut down.

use std::path::PathBuf;

use crate::aside::{Aside, AsideError, Place};
use crate::children::Children;
use crate::install::Install;

/// What is to be recovered.
#[derive(Debug, Clone)]
pub struct Past {
    /// The data directory, with `recovery.signal`.
    pub data: PathBuf,
    /// A directory of its own for its socket, which nobody connects to.
    pub socket_dir: PathBuf,
    /// The directory with the log.
    pub log: PathBuf,
    /// `recovery_target_…` and its value.
    pub target: (&'static str, String),
    /// What stands at the target belongs to it.
    pub inclusive: bool,
}

/// Why it was not recovered.
#[derive(Debug, thiserror::Error)]
pub enum NotRecovered {
    /// There is nothing at or behind the target.
    #[error("the log ends before it")]
    EndsBefore,
    /// The server did not come so far.
    #[error("recovery failed: {0}")]
    Failed(#[from] AsideError),
}

/// Recovers it, up to its target, as the beginning of a timeline of its own.
pub async fn recover(children: &Children, install: &Install, past: &Past) -> Result<(), NotRecovered> {
    let place = Place { data: past.data.clone(), socket_dir: past.socket_dir.clone(), hba_file: None };
    let recovered = async { Aside::start(children, install, place, &settings(past)).await?.stop().await };
    recovered.await.map_err(|error| match error {
        AsideError::Ended(said) if said.contains(ENDS_BEFORE) => NotRecovered::EndsBefore,
        error => NotRecovered::Failed(error),
    })
}

/// PostgreSQL's word for a target behind the end of the log.
const ENDS_BEFORE: &str = "recovery ended before configured recovery target was reached";

fn settings(past: &Past) -> Vec<String> {
    let log = past.log.display().to_string().replace('\'', "'\\''").replace('%', "%%");
    let (name, value) = &past.target;
    vec![
        format!("restore_command=cp '{log}/%f' %p"),
        "recovery_target_action=promote".to_owned(),
        format!("recovery_target_inclusive={}", if past.inclusive { "on" } else { "off" }),
        "recovery_target_timeline=current".to_owned(),
        "hot_standby=off".to_owned(),
        format!("{name}={value}"),
    ]
}
