//! The faults that are looked for, in the order of what depends on what. docs/doctor.md is made of this table.

use super::{Finding, Patient, branches, certificate, client, daemon, files, home, machine, pool, sockets, system};

/// Something that can be wrong.
pub(super) struct Fault {
    /// Its name in what the doctor says.
    pub(super) name: &'static str,
    /// What is wrong.
    pub(super) what: &'static str,
    /// What mends it, in general; what is found says it more exactly.
    pub(super) cure: &'static str,
    /// Looks for it.
    pub(super) look: fn(&Patient<'_>) -> Vec<Finding>,
}

#[rustfmt::skip]
pub(super) const FAULTS: &[Fault] = &[
    Fault { name: "settings", what: "nap.toml cannot be read", cure: "`nap config check` names the line", look: files::settings },
    Fault { name: "rules", what: "pg_hba.conf or pg_ident.conf is wrong: the daemon does not start, or keeps its old rules", cure: "`nap config check` names file and line", look: files::rules },
    Fault { name: "certificate", what: "the certificate for TLS is missing, cannot be read, or ends", cure: "a new one; `nap config reload`", look: certificate::certificate },
    Fault { name: "format", what: "the home was made by a newer version of nap", cure: "use the version that it names", look: files::format },
    Fault { name: "PostgreSQL", what: "no PostgreSQL was found, or not the major that is wanted", cure: "the system's package, or `nap pg install MAJOR`", look: system::postgres },
    Fault { name: "programs", what: "an installation lacks programs, such as initdb", cure: "the rest of its packages", look: system::programs },
    Fault { name: "locale", what: "the locale C.UTF-8 of new clusters is missing", cure: "the system's package of locales", look: system::locale },
    Fault { name: "run_as", what: "the user that runs the servers is missing, or cannot run them", cure: "make the user, or set `run_as`", look: system::run_as },
    Fault { name: "nap on the PATH", what: "`nap` is not on the PATH, or another one is", cure: "a line in your shell's profile", look: system::nap_on_path },
    Fault { name: "home", what: "the home cannot be written, or belongs to somebody else", cure: "chown, or another `--home`", look: home::place },
    Fault { name: "modes", what: "others can change the home or read its passwords", cure: "chmod", look: home::modes },
    Fault { name: "space", what: "the file system is full, has no inodes left, or is read-only", cure: "free space, or remount it", look: home::space },
    Fault { name: "file system", what: "the home is on memory or on a network, or may not hold programs that it holds", cure: "another place for the home", look: home::file_system },
    Fault { name: "clones", what: "the file system cannot clone, so every branch costs its whole size", cure: "`nap pool create`; or a home on btrfs or XFS", look: home::clones },
    Fault { name: "pool", what: "the pool is not mounted, fills up, or the disk below it does", cure: "`nap pool mount`, `nap pool grow`, or room on the disk below", look: pool::pool },
    Fault { name: "leftovers", what: "files of a daemon or an installation that was killed", cure: "none needed: they are swept", look: home::leftovers },
    Fault { name: "daemon", what: "the daemon is not up, or does not answer", cure: "`nap up`; `nap logs --daemon`", look: daemon::up },
    Fault { name: "version", what: "the daemon is older than the command: nap was updated", cure: "`nap down`, then `nap up`", look: daemon::version },
    Fault { name: "port", what: "the port is held by another process", cure: "stop it, or `nap up --port N`", look: daemon::port },
    Fault { name: "orphans", what: "servers run on our data while no daemon does", cure: "`nap up` takes them over", look: daemon::orphans },
    Fault { name: "bare psql", what: "a bare psql does not come here, because another PostgreSQL has the socket, say", cure: "`eval \"$(nap env)\"`", look: sockets::default_directory },
    Fault { name: "socket lock", what: "a lock file beside a socket where nobody listens", cure: "remove it", look: sockets::stale_lock },
    Fault { name: "socket paths", what: "the home is too deep for a branch's own socket", cure: "a shorter `--home`", look: sockets::doors },
    Fault { name: "libpq variables", what: "PGHOST, PGPORT, PGSERVICE and the like lead clients elsewhere", cure: "`unset`, or `eval \"$(nap env)\"`", look: client::variables },
    Fault { name: "password file", what: "~/.pgpass can be read by others, so libpq passes over it", cure: "chmod 600", look: client::password_file },
    Fault { name: "branches", what: "the record of a branch cannot be read", cure: "correct its branch.toml", look: branches::records },
    Fault { name: "default branch", what: "there is no branch of the default branch's name", cure: "`nap config set default_branch=NAME`", look: branches::default_branch },
    Fault { name: "servers", what: "a server did not start, or somebody else runs one on a branch's data", cure: "`nap logs BRANCH`, `nap wake BRANCH`", look: branches::failed },
    Fault { name: "shared memory", what: "/dev/shm is missing, full, or as small as containers have it", cure: "`--shm-size=1g`, or remount it", look: machine::shared_memory },
    Fault { name: "limits", what: "too few open files or processes are allowed", cure: "ulimit, or LimitNOFILE= and TasksMax= of the service", look: machine::limits },
    Fault { name: "System V IPC", what: "no shared memory segment is left: each server takes one", cure: "ipcs and ipcrm, or sysctl kernel.shmmni", look: machine::ipc },
    Fault { name: "clock", what: "the clock went back: files of the home are from the future", cure: "set the clock", look: machine::clock },
];

/// The table, as Markdown.
pub(crate) fn markdown() -> String {
    let mut text = String::from("| | check | what it finds | what mends it |\n|---|---|---|---|\n");
    for (number, fault) in FAULTS.iter().enumerate() {
        text.push_str(&format!("| {} | {} | {} | {} |\n", number + 1, fault.name, fault.what, fault.cure));
    }
    text
}
