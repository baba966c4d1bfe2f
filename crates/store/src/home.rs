//! Where everything of one daemon lies. Paths only: nothing here makes a file.

use std::path::{Path, PathBuf};

use nap_model::ids::{BranchId, BranchName, Major};

use crate::create::FORMAT_FILE;
use crate::run_dir;

/// The directory that holds everything of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
    /// Where branches lie, and what becomes one or was one: the home itself, or its pool.
    data_root: PathBuf,
}

/// The directory of one branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchDir {
    /// `branches/NAME`
    pub root: PathBuf,
}

impl Home {
    /// The home at this path, made absolute. Whether it has a pool is decided here, once: by its record, and not by what
    /// is mounted, so that a pool that is not never looks like a home without branches.
    pub fn at(root: PathBuf) -> Self {
        let root = std::path::absolute(&root).unwrap_or(root);
        let has_pool = root.join(POOL_RECORD).symlink_metadata().is_ok();
        Self { data_root: if has_pool { root.join(POOL_DIR) } else { root.clone() }, root }
    }

    /// The same home as it is now: a pool may have been made meanwhile.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::at(self.root.clone())
    }

    /// The home that is meant: the flag, else `NAP_HOME`, else where this platform keeps such things.
    pub fn locate(flag: Option<PathBuf>) -> Self {
        let variable = || std::env::var_os("NAP_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self::at(flag.or_else(variable).unwrap_or_else(default_root))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The settings.
    pub fn nap_toml(&self) -> PathBuf {
        self.root.join("nap.toml")
    }

    /// Who may connect, unless a branch has a file of its own.
    pub fn pg_hba(&self) -> PathBuf {
        self.root.join("pg_hba.conf")
    }

    /// Which roles the users of this system may be.
    pub fn pg_ident(&self) -> PathBuf {
        self.root.join("pg_ident.conf")
    }

    /// Holds the number of the layout.
    pub fn format_file(&self) -> PathBuf {
        self.root.join(FORMAT_FILE)
    }

    /// The small files as they were before a migration from this format.
    pub(crate) fn backup(&self, format: u32) -> PathBuf {
        self.root.join(format!("backup-format-{format}"))
    }

    /// Locked by the daemon as long as it lives.
    pub fn lock_file(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Where commands talk to the daemon. In a home too deep for a socket path it lies in the run directory.
    pub fn control_socket(&self) -> PathBuf {
        let socket = self.root.join("control.sock");
        if run_dir::fits(&socket) { socket } else { self.run_dir().join(".control.sock") }
    }

    /// Passwords that were drawn for roles.
    pub fn secrets_dir(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// The password that was drawn for this role. Bytes that could mean something in a path are escaped as in a URL.
    pub fn password_file(&self, role: &str) -> PathBuf {
        let mut name = String::new();
        for byte in role.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("%{byte:02X}"));
            }
        }
        self.secrets_dir().join(format!("{name}.password"))
    }

    /// The certificate that the daemon makes for TLS, its root, and their keys.
    pub fn tls_dir(&self) -> PathBuf {
        self.root.join("tls")
    }

    /// What clients can verify that certificate with.
    pub fn root_certificate(&self) -> PathBuf {
        self.tls_dir().join("root.crt")
    }

    /// The daemon's own logs.
    pub fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The daemon's log.
    pub fn daemon_log(&self) -> PathBuf {
        self.log_dir().join("nap.log")
    }

    /// The path by which sockets are named: `HOME/run`, or the short directory that `HOME/run` links to when the
    /// home is too deep for socket paths.
    pub fn run_dir(&self) -> PathBuf {
        run_dir::resolve(self)
    }

    /// `HOME/run`, a directory or a link to one.
    pub(crate) fn run_link(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The branch's own socket directory, for clients.
    pub fn door_dir(&self, branch: &BranchName) -> PathBuf {
        self.run_dir().join(branch.as_str())
    }

    /// The socket in the branch's door; `None`: the name is too long for a socket path in this home.
    pub fn door_socket(&self, branch: &BranchName, port: u16) -> Option<PathBuf> {
        Some(self.door_dir(branch).join(format!(".s.PGSQL.{port}"))).filter(|path| run_dir::fits(path))
    }

    /// The parent of all servers' socket directories.
    pub(crate) fn servers_dir(&self) -> PathBuf {
        self.run_dir().join(".servers")
    }

    /// Where the branch's server has its socket. Only the daemon may enter.
    pub fn server_socket_dir(&self, id: &BranchId) -> PathBuf {
        self.servers_dir().join(id.as_str())
    }

    /// The parent of all templates.
    pub fn templates_dir(&self) -> PathBuf {
        self.data_root.join("templates")
    }

    /// The data directory that new roots of this major are cloned from.
    pub fn template(&self, major: Major) -> PathBuf {
        self.templates_dir().join(major.to_string())
    }

    /// PostgreSQL installations of the home's own, one directory per version.
    pub fn postgres_dir(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// Locked by who puts an installation there.
    pub fn postgres_lock(&self) -> PathBuf {
        self.postgres_dir().join("lock")
    }

    /// What is half-made.
    pub fn staging(&self) -> PathBuf {
        self.data_root.join("staging")
    }

    /// What is being deleted.
    pub fn trash(&self) -> PathBuf {
        self.data_root.join("trash")
    }

    /// The parent of all branches.
    pub fn branches_dir(&self) -> PathBuf {
        self.data_root.join("branches")
    }

    /// Whether branches lie in a pool.
    pub fn has_pool(&self) -> bool {
        self.data_root != self.root
    }

    /// What is known of the pool. It is there as soon as the pool is whole.
    pub fn pool_record(&self) -> PathBuf {
        self.root.join(POOL_RECORD)
    }

    /// The record of a pool that is being made.
    pub fn pool_draft(&self) -> PathBuf {
        self.root.join("pool.making")
    }

    /// The pool's file system.
    pub fn pool_image(&self) -> PathBuf {
        self.root.join("pool.img")
    }

    /// Where it is mounted.
    pub fn pool_dir(&self) -> PathBuf {
        self.root.join(POOL_DIR)
    }

    /// The directory of this branch.
    pub fn branch(&self, name: &BranchName) -> BranchDir {
        BranchDir { root: self.branches_dir().join(name.as_str()) }
    }
}

impl BranchDir {
    /// PostgreSQL's data directory.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Where tablespaces have their directories. What lies here belongs to the branch as its data does.
    pub fn tablespaces(&self) -> PathBuf {
        self.root.join(TABLESPACES)
    }

    /// The server's logs.
    pub fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    /// What psql said when it ran `wake_sql` last.
    pub fn wake_sql_log(&self) -> PathBuf {
        self.log_dir().join("wake_sql.log")
    }

    /// The server's log.
    pub fn server_log(&self) -> PathBuf {
        self.log_dir().join("postgres.log")
    }

    /// The branch's record.
    pub fn record(&self) -> PathBuf {
        self.root.join("branch.toml")
    }

    /// For what came with a snapshot of its parent and is not its own: it is deleted when nobody waits for that (`YOUNG`).
    pub fn discarded(&self) -> PathBuf {
        self.root.join("discarded")
    }

    /// Its log, kept.
    pub fn wal(&self) -> PathBuf {
        self.root.join("wal")
    }

    /// The parent of its snapshots.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// The record under which this state of the branch is to be kept when another one takes its place. Only meanwhile.
    pub(crate) fn kept_record(&self) -> PathBuf {
        self.root.join("kept.toml")
    }

    /// Who may connect to this branch, in place of the home's file.
    pub fn pg_hba(&self) -> PathBuf {
        self.root.join("pg_hba.conf")
    }

    /// Roles and databases as they were at the last shutdown.
    pub fn roles(&self) -> PathBuf {
        self.root.join("roles")
    }
}

/// Of a directory in a branch.
pub(crate) const TABLESPACES: &str = "tablespaces";

const POOL_RECORD: &str = "pool.toml";
const POOL_DIR: &str = "pool";

const SYSTEM_HOME: &str = "/var/lib/napgres";

fn default_root() -> PathBuf {
    Platform {
        is_root: rustix::process::geteuid().is_root(),
        is_macos: cfg!(target_os = "macos"),
        user_home: std::env::home_dir(),
        xdg_data_home: std::env::var_os("XDG_DATA_HOME").map(PathBuf::from),
    }
    .default_root()
}

/// What decides where a home lies when nobody says.
struct Platform {
    is_root: bool,
    is_macos: bool,
    user_home: Option<PathBuf>,
    xdg_data_home: Option<PathBuf>,
}

impl Platform {
    fn default_root(self) -> PathBuf {
        let absolute = |path: Option<PathBuf>| path.filter(|path| path.is_absolute());
        let user_home = absolute(self.user_home);
        let root = if self.is_root {
            None
        } else if self.is_macos {
            user_home.map(|home| home.join("Library/Application Support/Napgres"))
        } else {
            // The XDG specification: a relative path is to be ignored.
            let data = absolute(self.xdg_data_home).or_else(|| user_home.map(|home| home.join(".local/share")));
            data.map(|data| data.join("napgres"))
        };
        root.unwrap_or_else(|| SYSTEM_HOME.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_where_the_platform_keeps_data() {
        let root = |is_root, is_macos, xdg: Option<&str>, home: Option<&str>| {
            let (user_home, xdg_data_home) = (home.map(PathBuf::from), xdg.map(PathBuf::from));
            Platform { is_root, is_macos, user_home, xdg_data_home }.default_root().display().to_string()
        };
        assert_eq!(root(true, false, Some("/x"), Some("/root")), "/var/lib/napgres");
        assert_eq!(root(false, false, Some("/x"), Some("/home/a")), "/x/napgres");
        assert_eq!(root(false, false, Some("x"), Some("/home/a")), "/home/a/.local/share/napgres");
        assert_eq!(root(false, false, None, None), "/var/lib/napgres");
        assert_eq!(root(false, true, Some("/x"), Some("/Users/a")), "/Users/a/Library/Application Support/Napgres");
    }
}
