//! The command line of a server. What Napgres needs stands here, and only here: `postgresql.conf` and ALTER SYSTEM
//! stay the user's for everything else.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nap_model::ids::BranchName;

use crate::install::Install;

/// The number in the name of every server's private socket. Each has a directory of its own.
pub(crate) const SOCKET_PORT: u16 = 5432;
/// The private socket's file name.
pub(crate) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// Where a server's things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// Its data directory.
    pub data: PathBuf,
    /// The file its standard error goes to.
    pub log: PathBuf,
    /// The directory of its private socket, 0700.
    pub socket_dir: PathBuf,
    /// Its pg_hba.conf: all trust, since only the daemon can reach the socket.
    pub hba_file: PathBuf,
    /// Segments of its log have second links, and must not be used again.
    pub log_is_kept: Arc<AtomicBool>,
}

/// One setting on the command line, and why it is there.
#[derive(Debug, Clone, Copy)]
pub struct Ours {
    /// `name=value`, or how the value is found.
    pub setting: &'static str,
    /// For docs/settings.md.
    pub why: &'static str,
}

/// The settings on the command line, for docs/settings.md. The order is that of `command`.
pub const OURS: &[Ours] = &[
    Ours {
        setting: "data_directory=<the branch's>",
        why: "a configuration that names its parent's must not lead there",
    },
    Ours { setting: "listen_addresses=''", why: "clients come through the gateway" },
    Ours { setting: "unix_socket_directories=<private directory>", why: "0700: only the daemon and root reach it" },
    Ours { setting: "unix_socket_permissions=0700", why: "the same, once more" },
    Ours { setting: "port=5432", why: "the number in the private socket's name; it is no TCP port" },
    Ours {
        setting: "hba_file=<run directory>/server_hba.conf",
        why: "the gateway has authenticated the client already",
    },
    Ours { setting: "cluster_name=nap/<branch>", why: "`ps` shows whose server it is" },
    Ours { setting: "logging_collector=off", why: "the server writes its log to the branch's log file" },
    Ours { setting: "log_destination=stderr", why: "the same" },
    Ours {
        setting: "recovery_init_sync_method=syncfs",
        why: "after a crash, one sync of the file system instead of one per file",
    },
    Ours {
        setting: "wal_recycle=off",
        why: "where `history` is kept: its log is kept by second links to its segments, which must not be written again",
    },
];

/// On a command line it counts more than what a configuration says, which may be that of another cluster.
pub(crate) fn own_data(data: &Path) -> String {
    format!("data_directory={}", data.display())
}

pub(crate) fn socket_setting(socket_dir: &Path) -> String {
    format!("unix_socket_directories={}", quoted(socket_dir))
}

/// PostgreSQL splits this list at commas; double quotes keep a path whole.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains([',', '"', ' ']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// The postmaster's command, its output going to the end of its log file.
pub(crate) fn command(install: &Install, branch: &BranchName, places: &Places, notify: &Path) -> io::Result<Command> {
    let log = OpenOptions::new().create(true).append(true).open(&places.log)?;
    let mut command = Command::new(install.program("postgres"));
    command.arg("-D").arg(&places.data);
    let settings = [
        own_data(&places.data),
        "listen_addresses=".to_owned(),
        socket_setting(&places.socket_dir),
        "unix_socket_permissions=0700".to_owned(),
        format!("port={SOCKET_PORT}"),
        format!("hba_file={}", places.hba_file.display()),
        format!("cluster_name=nap/{branch}"),
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
        "recovery_init_sync_method=syncfs".to_owned(),
    ];
    let kept = places.log_is_kept.load(Ordering::Relaxed).then(|| "wal_recycle=off".to_owned());
    for setting in settings.iter().chain(&kept) {
        command.arg("-c").arg(setting);
    }
    command.env("NOTIFY_SOCKET", notify);
    command.envs(install.own_libraries().map(|directory| ("LD_LIBRARY_PATH", directory)));
    // A group of its own: Ctrl-C in the daemon's terminal must reach the daemon alone, which then stops its servers.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_model::ids::Major;

    #[test]
    fn the_table_and_the_command_line_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places {
            data: "/d".into(),
            log: dir.path().join("log"),
            socket_dir: "/s p".into(),
            hba_file: "/h".into(),
            log_is_kept: Arc::new(true.into()),
        };
        let install = Install { bin: "/b".into(), major: Major(15), version: "15".into() };
        let command = command(&install, &BranchName::main(), &places, Path::new("/n")).unwrap();
        let given: Vec<String> = command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .filter_map(|arg| arg.split_once('=').map(|(name, _)| name.to_owned()))
            .collect();
        let told: Vec<&str> =
            OURS.iter().filter_map(|ours| ours.setting.split_once('=').map(|(name, _)| name)).collect();
        assert_eq!(given, told);
        assert_eq!(socket_setting(Path::new("/s p")), "unix_socket_directories=\"/s p\"");
    }
}
