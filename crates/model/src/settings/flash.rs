//! When a server sleeps of itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What decides that a server goes to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flash {
    /// The clock: it has not been used for `sleep_after`.
    Auto,
    /// Its users: `nap sleep`, or a session's `SET nap.keep_awake = off`.
    Manual,
}

impl fmt::Display for Flash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flash::Auto => "auto",
            Flash::Manual => "manual",
        })
    }
}
