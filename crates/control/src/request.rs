//! What can be asked of the daemon.

use std::path::PathBuf;

use nap_model::ids::{BranchName, Major};
use nap_model::snapshot_name::SnapshotName;
use serde::{Deserialize, Serialize};

/// One request. Where a branch is an `Option`, none means the default branch, if nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// Answered by [`Answer::Status`](crate::Answer::Status).
    Status,
    /// Answered by [`Answer::Branches`](crate::Answer::Branches).
    List {
        /// Tell what each takes of the disk, too, which may take its time.
        #[serde(default)]
        disk: bool,
    },
    /// Wakes a server and answers when it takes connections.
    Wake {
        /// Which one.
        branch: Option<BranchName>,
    },
    /// Puts a server to sleep and answers when its processes are gone.
    Sleep {
        /// Which one.
        branch: Option<BranchName>,
    },
    /// Stops a server's processes where they are, and answers when they stand still.
    Doze {
        /// Which one.
        branch: Option<BranchName>,
    },
    /// Shuts servers down and wakes them again, for settings that want it.
    Restart {
        /// Which one; none: all that run.
        branch: Option<BranchName>,
    },
    /// Makes a branch; answered by [`Answer::Created`](crate::Answer::Created).
    CreateBranch {
        /// Its name, as it was typed.
        name: String,
        /// The parent.
        from: Option<BranchName>,
        /// As the parent was at this moment; none: now.
        #[serde(default)]
        at: Option<String>,
        /// Its own settings, as in `SetBranch`.
        #[serde(default)]
        settings: Vec<(String, String)>,
    },
    /// Removes a branch.
    RemoveBranch {
        /// Which one.
        name: BranchName,
        /// Even if it has sessions: they are ended.
        force: bool,
        /// What becomes of those that were branched from it.
        #[serde(default)]
        children: Children,
    },
    /// Takes a snapshot of a branch, which is kept; answered by [`Answer::Snapshot`](crate::Answer::Snapshot).
    TakeSnapshot {
        /// Which one.
        branch: Option<BranchName>,
        /// What it is to be called.
        name: SnapshotName,
    },
    /// Removes one that was taken so.
    RemoveSnapshot {
        /// Of which branch.
        branch: Option<BranchName>,
        /// What it is called.
        name: SnapshotName,
    },
    /// What is kept of a branch's past; answered by [`Answer::History`](crate::Answer::History).
    History {
        /// Which one.
        branch: Option<BranchName>,
    },
    /// Makes a branch anew from its parent; answered by [`Answer::Created`](crate::Answer::Created).
    ResetBranch {
        /// Which one.
        name: BranchName,
        /// What it was becomes another branch, of this name.
        keep_as: Option<BranchName>,
    },
    /// Makes a branch what it was at a moment; answered by [`Answer::Created`](crate::Answer::Created).
    RestoreBranch {
        /// Which one.
        name: BranchName,
        /// When.
        at: String,
        /// What it has been so far becomes another branch, of this name.
        keep_as: BranchName,
    },
    /// Gives another name to a branch that nobody uses.
    RenameBranch {
        /// Which one.
        name: BranchName,
        /// What it is to be called.
        to: BranchName,
    },
    /// Changes a branch's own settings; answered by [`Answer::Config`](crate::Answer::Config).
    SetBranch {
        /// Which one.
        name: BranchName,
        /// Names and values; an empty value takes the branch's own setting away.
        settings: Vec<(String, String)>,
    },
    /// Asks how to connect; answered by [`Answer::Connection`](crate::Answer::Connection).
    Connection {
        /// Which branch.
        branch: Option<BranchName>,
        /// Which database; none: the first role's own, or `postgres`.
        database: Option<String>,
    },
    /// Answered by [`Answer::Sessions`](crate::Answer::Sessions).
    Sessions {
        /// Of which branch; none: of all.
        branch: Option<BranchName>,
    },
    /// Parks the idle sessions of a branch now, as far as nothing is lost by it. Answered as `Sessions` is.
    ParkSessions {
        /// Of which branch; none: of all.
        branch: Option<BranchName>,
    },
    /// Ends a session.
    EndSession {
        /// Its number.
        id: u64,
    },
    /// Makes a branch of a cluster or a database that is elsewhere; answered by [`Answer::Imported`](crate::Answer::Imported).
    /// It is given up if who asks goes away.
    Import {
        /// Where it is.
        source: ImportSource,
        /// The branch's name, as it was typed.
        name: String,
        /// Its rules for connections are not taken over.
        #[serde(default)]
        ignore_hba: bool,
        /// The major version for a database that is copied; none: the newest one.
        #[serde(default)]
        pg: Option<Major>,
    },
    /// Writes a branch, or a database of it, to a place outside the home; answered by
    /// [`Answer::Exported`](crate::Answer::Exported). It is given up if who asks goes away.
    Export {
        /// Which one.
        branch: Option<BranchName>,
        /// Which database, where it is a dump; none: as for `Connection`.
        database: Option<String>,
        /// Where to. Nothing is replaced.
        to: PathBuf,
        /// As what.
        format: ExportFormat,
    },
    /// Reads `nap.toml` again; answered by [`Answer::Config`](crate::Answer::Config).
    ReloadConfig,
    /// Goes on as another program, with all sessions. There is no answer but for a failure: the socket closes when the other
    /// one takes over.
    Replace {
        /// What to go on as.
        program: PathBuf,
        /// What it understands of what is left to it.
        format: u32,
    },
    /// Shuts all servers down and ends the daemon.
    Down,
}

impl Request {
    /// Whether it is given up when who asks goes away: it changes nothing that shows before its end.
    pub(crate) fn ends_with_its_client(&self) -> bool {
        matches!(self, Self::Import { .. } | Self::Export { .. })
    }
}

/// What is imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum ImportSource {
    /// A data directory on which no server runs.
    Directory {
        /// Its path, from the root.
        path: PathBuf,
    },
    /// A cluster of Debian's `pg_createcluster`, whether its server runs or not.
    Debian {
        /// Its major version.
        version: Major,
        /// Its name.
        cluster: String,
    },
    /// A server that runs.
    Url {
        /// A connection URI without the password.
        url: String,
        /// All of it. Otherwise the database that the URI names.
        cluster: bool,
        /// libpq's variables.
        environment: Variables,
    },
}

/// Variables for a program, passwords among them: they are not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variables(pub Vec<(String, String)>);

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// As what something is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// The cluster, as a data directory.
    Directory,
    /// One database, in pg_dump's custom format.
    Custom,
    /// The same as a script.
    Plain,
    /// The same as a tar archive.
    Tar,
}

/// What becomes of the children of a branch that is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Children {
    /// If there are any, it stays.
    #[default]
    Refuse,
    /// They go, and their children too.
    Remove,
    /// They stay, as children of its parent.
    Keep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let environment = Variables(vec![("PGPASSWORD".into(), "s3cret".into())]);
        let source = ImportSource::Url { url: "postgresql://h/d".into(), cluster: false, environment };
        let request = Request::Import { source, name: "n".into(), ignore_hba: false, pg: None };
        assert!(!format!("{request:?}").contains("s3cret"));
        let read: Request = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(read, request);
    }

    #[test]
    fn requests_read_well_on_the_wire() {
        let written = serde_json::to_string(&Request::Wake { branch: Some(BranchName::main()) }).unwrap();
        assert_eq!(written, r#"{"request":"wake","branch":"main"}"#);
        let read: Request = serde_json::from_str(r#"{"request":"status"}"#).unwrap();
        assert_eq!(read, Request::Status);
        let bad = serde_json::from_str::<Request>(r#"{"request":"sleep","branch":"../x"}"#);
        assert!(bad.unwrap_err().to_string().contains("is not a branch name"));
    }
}
