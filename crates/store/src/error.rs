//! What can go wrong with the tree, in words a user can act on.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nap_model::ids::{BranchName, Major};
use nap_model::lsn::Lsn;
use nap_model::nearest::in_parentheses;
use nap_model::snapshot_name::SnapshotName;

/// An error of the branch tree.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A branch of that name is there.
    #[error("branch \"{0}\" exists already")]
    Exists(BranchName),
    /// No branch has that name.
    #[error("there is no branch \"{name}\"{}", in_parentheses(.nearest))]
    NoSuchBranch {
        /// As it was asked for.
        name: BranchName,
        /// The names that look like it.
        nearest: Vec<BranchName>,
    },
    /// It cannot go while others name it as their parent.
    #[error("branch \"{name}\" has children: {}", list(.children))]
    HasChildren {
        /// The branch.
        name: BranchName,
        /// Who was branched from it.
        children: Vec<BranchName>,
    },
    /// It was branched from nothing.
    #[error("branch \"{0}\" has no parent")]
    NoParent(BranchName),
    /// While a branch was made anew from its parent it got another one.
    #[error("the parent of branch \"{0}\" has gone meanwhile, and another branch is its parent now")]
    OtherParent(BranchName),
    /// Ids are drawn at random, but a directory copied by hand keeps its id. Two servers would share sockets.
    #[error("branch \"{name}\" would have the same id as \"{other}\"")]
    SameId {
        /// The branch.
        name: BranchName,
        /// The one that has it already.
        other: BranchName,
    },
    /// Its control file does not speak of a clean shutdown.
    #[error("branch \"{0}\" is not asleep: its server runs or did not shut down cleanly")]
    NotAsleep(BranchName),
    /// The parent has stood still for long enough.
    #[error("the clone was given up after {:.1} s, in which its parent's server stood still", .after.as_secs_f64())]
    TooSlow {
        /// How long it had taken by then.
        after: Duration,
    },
    /// The past of a branch does not reach so far.
    #[error("the history of branch \"{name}\" is from {first} ({since}) to {end}, now")]
    OutsideHistory {
        /// The branch.
        name: BranchName,
        /// Where it begins.
        first: Lsn,
        /// When that was.
        since: jiff::Timestamp,
        /// Where its log ends.
        end: Lsn,
    },
    /// There is none.
    #[error("branch \"{0}\" has no history yet")]
    NoHistory(BranchName),
    /// A snapshot of that name is there.
    #[error("branch \"{branch}\" has a snapshot \"{name}\" already")]
    SnapshotExists {
        /// The branch.
        branch: BranchName,
        /// The snapshot's name.
        name: String,
    },
    /// No snapshot of the branch has that name.
    #[error("branch \"{branch}\" has no snapshot \"{name}\"")]
    NoSuchSnapshot {
        /// The branch.
        branch: BranchName,
        /// As it was asked for.
        name: SnapshotName,
    },
    /// They are kept until somebody removes them.
    #[error("branch \"{branch}\" has {max} snapshots with a name, and cannot have more")]
    TooManySnapshots {
        /// The branch.
        branch: BranchName,
        /// The limit.
        max: usize,
    },
    /// What is needed has gone from the parent's log, or was never kept.
    #[error("{} is missing, which is needed of the log", .0.display())]
    LogIsGone(PathBuf),
    /// No template of this major has been made.
    #[error("there is no template for PostgreSQL {0}")]
    NoTemplate(Major),
    /// A tablespace, or a `pg_wal`, that lies elsewhere: two clusters would write to the same files.
    #[error("{} leads out of the data directory, to {}", .link.display(), .target.display())]
    LeadsOutside {
        /// The link, relative to the data directory.
        link: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Where it lies, it would go with a branch that is not its own.
    #[error("branch \"{guest}\" has a tablespace in the directory of \"{host}\": {}", .place.display())]
    HasGuest {
        /// In whose directory it lies.
        host: BranchName,
        /// Whose it is.
        guest: String,
        /// Where.
        place: PathBuf,
    },
    /// The log that is to be replayed makes one that lies elsewhere: two clusters would write to the same files.
    #[error("a tablespace in {} was made in that time", .0.display())]
    MakesTablespace(PathBuf),
    /// A server, or somebody else, has written there while it was copied.
    #[error("{} changed while it was copied", .0.display())]
    ChangedMeanwhile(PathBuf),
    /// What is there already is not replaced.
    #[error("{} exists and is no empty directory", .0.display())]
    DestinationTaken(PathBuf),
    /// `ENOSPC` or `EDQUOT`.
    #[error("no space is left for {}", .0.display())]
    NoSpace(PathBuf),
    /// It would take what is left for the files of tables.
    #[error("a copy of branch \"{name}\" takes {wanted} inodes, and {free} are free on its file system")]
    TooFewInodes {
        /// Of which branch.
        name: BranchName,
        /// How many its files take.
        wanted: u64,
        /// How many are free.
        free: u64,
    },
    /// `EROFS`
    #[error("{} is on a read-only file system", .0.display())]
    ReadOnly(PathBuf),
    /// A `branch.toml` that cannot be used.
    #[error("{}: {problem}", .path.display())]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting that is not known, not allowed here, or of a wrong value.
    #[error(transparent)]
    BadSetting(#[from] nap_model::settings::BadSettings),
    /// A known setting that only the home has.
    #[error("{0} is a setting of the home, not of a branch")]
    NotPerBranch(&'static str),
    /// Files are there, and none of them says that this is a home.
    #[error("{} is not empty and not a home", .0.display())]
    NotAHome(PathBuf),
    /// Nothing has been made here yet.
    #[error("there is no home at {}", .0.display())]
    NoHome(PathBuf),
    /// Branches are there, but not the file that says how they are laid out.
    #[error("{} has branches but no file \"format\"", .0.display())]
    FormatMissing(PathBuf),
    /// A later Napgres made it.
    #[error("{} has format {found}, written by {writer}; nap {} knows formats up to {known}", .path.display(), env!("CARGO_PKG_VERSION"))]
    FormatTooNew {
        /// The `format` file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What we know.
        known: u32,
        /// Which version wrote it.
        writer: String,
    },
    /// No step leads from it to today's.
    #[error("{} is of a format that nap {} cannot migrate", .0.display(), env!("CARGO_PKG_VERSION"))]
    FormatTooOld(PathBuf),
    /// The `format` file holds no number.
    #[error("{} does not hold a format number", .0.display())]
    FormatUnreadable(PathBuf),
    /// Its branches lie in a pool that is not there.
    #[error("the pool of {} is not mounted", .0.display())]
    PoolNotMounted(PathBuf),
    /// What is mounted is not what the record names.
    #[error("{} is not the pool of this home: {problem}", .dir.display())]
    PoolIsAnother {
        /// Where it is mounted.
        dir: PathBuf,
        /// What speaks against it.
        problem: String,
    },
    /// It has no room for a branch.
    #[error(
        "no space is left for a branch: the pool has {} MB free, and the disk below it {} MB",
        .pool_bytes >> 20,
        .below_bytes >> 20
    )]
    PoolFull {
        /// What its file system has left.
        pool_bytes: u64,
        /// What the disk below has left.
        below_bytes: u64,
    },
    /// Its file system has failed.
    #[error("the pool of {} cannot be read", .home.display())]
    PoolFailed {
        /// The home.
        home: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is an image, and nothing says what it is.
    #[error("{} is there, but no record of a pool: pool.toml", .0.display())]
    PoolRecordLost(PathBuf),
    /// The place is taken by something that is not ours, and putting files there would not be safe.
    #[error("{} is not a directory that belongs to us", .0.display())]
    NotOurs(PathBuf),
    /// What the caller does with a staged data directory went wrong.
    #[error(transparent)]
    Fill(Box<dyn Error + Send + Sync>),
    /// Any other error of the operating system.
    #[error("could not {what} {}", .path.display())]
    Io {
        /// The verb.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StoreError {
    /// Sorts an error of the operating system: no space and read-only have their own variants.
    pub(crate) fn io(what: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(path.to_owned()),
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly(path.to_owned()),
            _ => Self::Io { what, path: path.to_owned(), source },
        }
    }

    /// What to do about it, as one sentence.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Exists(name) => {
                format!("Choose another name; `nap reset {name}` makes it anew from its parent.").into()
            }
            Self::NoSuchBranch { name, .. } => {
                format!("`nap ls` shows the branches; `nap branch {name}` makes it.").into()
            }
            Self::HasChildren { .. } => {
                "`nap rm --with-children` removes them too, `--keep-children` leaves them whole.".into()
            }
            Self::SameId { .. } => "Write another `id` into its branch.toml, eight hexadecimal digits.".into(),
            Self::NotAsleep(name) => format!("Put it to sleep first: `nap sleep {name}`.").into(),
            Self::TooSlow { .. } => {
                "Its files are fragmented, or the disk is slow: try again when less is written.".into()
            }
            Self::SnapshotExists { branch, name } => {
                format!("Choose another name; `nap snapshot --remove {name} --from {branch}` removes it.").into()
            }
            Self::NoSuchSnapshot { branch, .. } => {
                format!("`nap history {branch}` shows those that there are.").into()
            }
            Self::TooManySnapshots { branch, .. } => {
                format!("`nap snapshot --remove NAME --from {branch}` removes one.").into()
            }
            Self::OutsideHistory { name, .. } => format!("`nap history {name}` shows its snapshots.").into(),
            Self::NoHistory(_) => {
                "It begins with the branch, or with its first sleep if it has a ttl, where the file system can clone and `history` is not 0s."
                    .into()
            }
            Self::LeadsOutside { .. } => {
                "A branch takes along the tablespaces in its own directory, branches/NAME/tablespaces; others, and a pg_wal \
                 elsewhere, would be written to by two servers. Move them back inside."
                    .into()
            }
            Self::HasGuest { guest, .. } => format!(
                "Move what is in it to one in branches/{guest}/tablespaces (ALTER TABLE … SET TABLESPACE), and drop it."
            )
            .into(),
            Self::MakesTablespace(_) => {
                "To replay its making would empty what lies there. Behind the next checkpoint it comes along; of the past, moments behind the \
                 next snapshot can be had: `nap sleep` takes one."
                    .into()
            }
            Self::ChangedMeanwhile(_) => "Stop the server that runs on it, or name it by its URL.".into(),
            Self::DestinationTaken(_) => "Choose another name.".into(),
            Self::NoSpace(_) => {
                "Free space on that file system, for instance with `nap rm` of branches no longer needed.".into()
            }
            Self::TooFewInodes { .. } => {
                "Remove files, branches or snapshots from that file system, or grow it: history leaves one inode in twenty free.".into()
            }
            Self::ReadOnly(_) => "Remount it read-write, or choose another home with --home.".into(),
            Self::BadRecord { .. } => "Correct the file; nothing else of the branch is affected.".into(),
            _ => return self.hint_of_home(),
        })
    }

    /// Of the home itself, and of the pool that it lies in.
    fn hint_of_home(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NotAHome(_) => "Choose an empty or new directory with --home or NAP_HOME.".into(),
            Self::NoHome(_) => "`nap up` makes it.".into(),
            Self::FormatMissing(_) => {
                "If nothing else is missing here, restore it: a file \"format\" that holds the line 1.".into()
            }
            Self::FormatTooNew { .. } => "Use that version of nap or a newer one; nothing was changed here.".into(),
            Self::FormatTooOld(_) => "Start it once with an earlier version of nap, which migrates it.".into(),
            Self::FormatUnreadable(_) => "Its first line should be the number of the layout: 1.".into(),
            Self::PoolNotMounted(home) => format!("`sudo nap --home {} pool mount` does it.", home.display()).into(),
            Self::PoolIsAnother { .. } => {
                "Unmount what is there, then mount the pool: `nap pool mount`, as root.".into()
            }
            Self::PoolFull { pool_bytes, below_bytes } if pool_bytes <= below_bytes => {
                "`nap pool grow`, as root, makes it larger; `nap rm` of branches no longer needed helps too.".into()
            }
            Self::PoolFull { .. } => "Free space on the disk below the pool.".into(),
            Self::PoolFailed { home, .. } => format!(
                "Make room on the disk below if that is full, then `nap down` and `sudo nap --home {} pool mount`.",
                home.display()
            )
            .into(),
            Self::PoolRecordLost(_) => {
                "Restore pool.toml from a backup; if the pool is no longer needed, move the image away.".into()
            }
            Self::NotOurs(_) => "Move it away, or choose another home with --home.".into(),
            _ => return None,
        })
    }
}

fn list(names: &[BranchName]) -> String {
    names.iter().map(BranchName::as_str).collect::<Vec<_>>().join(", ")
}
