//! A home of its own for one test.

use std::fmt::Write as _;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::clock::Clock;
use crate::command::Output;
use crate::ports::PortPair;
use crate::postgres::{Install, pg_majors};
use crate::reachable::reachable_program;
use crate::{eventually, is_root, process, template};

/// `NAP_TEST_HOMES`, else /tmp. Tests start hundreds of servers, whose sockets hold 107 bytes: a short path, in memory if there is enough.
pub fn place_of_homes() -> PathBuf {
    std::env::var_os("NAP_TEST_HOMES").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// A home in a directory with a short name, with ports of its own. Dropping it ends everything in it.
#[derive(Debug)]
pub struct TestHome {
    base: TempDir,
    nap: PathBuf,
    ports: PortPair,
    install: Install,
    environment: Vec<(String, String)>,
}

/// What a [`TestHome`] is to be like.
#[derive(Debug)]
pub struct TestHomeBuilder {
    nap: PathBuf,
    install: Install,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    parent: PathBuf,
    faults: bool,
}

impl TestHomeBuilder {
    /// Uses this PostgreSQL instead of the first of [`pg_majors`].
    #[must_use]
    pub fn install(mut self, install: &Install) -> Self {
        self.install = install.clone();
        self
    }

    /// A line of nap.toml; the value is TOML (`"\"2s\""`, `"5"`). The last of a name counts.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A variable in the environment of every `nap`.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The daemon takes orders to die or to wait somewhere: [`TestHome::faults`].
    #[must_use]
    pub fn faults(mut self) -> Self {
        self.faults = true;
        self
    }

    /// Every `nap`, and so the daemon and its servers, go by this clock.
    #[must_use]
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.environment.extend(clock.environment().into_iter().map(|(name, value)| (name.to_owned(), value)));
        self
    }

    /// Makes the home below this directory (a file system of its own, say) instead of where they all are. Socket paths hold 107 bytes.
    #[must_use]
    pub fn below(mut self, parent: &Path) -> Self {
        self.parent = parent.to_owned();
        self
    }

    /// Writes the home's nap.toml. Nothing runs yet.
    pub fn build(self) -> TestHome {
        let base = tempfile::Builder::new().prefix("nap-").tempdir_in(&self.parent).expect("a temporary directory");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set the mode");
        };
        mode(base.path(), 0o755);
        let ports = PortPair::free();
        let home = base.path().join("home");
        let sockets = base.path().join("s");
        for directory in [&home, &sockets] {
            std::fs::create_dir(directory).expect("make a directory");
        }
        mode(&home, 0o700);
        let mut toml = format!(
            "port = {}\npostgres_bin = \"{}\"\nunix_socket_directory = \"{}\"\n",
            ports.port,
            self.install.bin.display(),
            sockets.display()
        );
        for (name, value) in &self.settings {
            writeln!(toml, "{name} = {value}").expect("a line");
        }
        let file = home.join("nap.toml");
        std::fs::write(&file, toml).expect("write nap.toml");
        if is_root() {
            let (user, group) = postgres_ids();
            for path in [base.path(), &home, &sockets, &file] {
                chown(path, Some(user), Some(group)).expect("give it to postgres");
            }
        }
        let nap = reachable_program(&self.nap, base.path());
        let mut environment = self.environment;
        if self.faults {
            let faults = base.path().join("faults");
            std::fs::create_dir(&faults).expect("make a directory");
            mode(&faults, 0o777);
            environment.push(("NAP_TEST_FAULTS".into(), faults.display().to_string()));
        }
        TestHome { base, nap, ports, install: self.install, environment }
    }
}

impl TestHome {
    /// A home for this `nap` (tests of the binary's crate say `env!("CARGO_BIN_EXE_nap")`) whose servers sleep one
    /// second after their last session.
    pub fn new(nap: impl Into<PathBuf>) -> Self {
        Self::builder(nap).build()
    }

    /// A home that is to differ.
    pub fn builder(nap: impl Into<PathBuf>) -> TestHomeBuilder {
        let install = pg_majors().into_iter().next().expect("an installation");
        TestHomeBuilder {
            nap: nap.into(),
            install,
            settings: vec![("sleep_after".into(), "\"1s\"".into())],
            environment: Vec::new(),
            parent: place_of_homes(),
            faults: false,
        }
    }

    /// The home itself (`--home`).
    pub fn path(&self) -> PathBuf {
        self.base.path().join("home")
    }

    /// A directory beside the home that goes away with it, for files of the test.
    pub fn beside(&self) -> &Path {
        self.base.path()
    }

    /// The data directory of a branch, in the home's pool if it has one.
    pub fn data(&self, branch: &str) -> PathBuf {
        let has_pool = self.path().join("pool.toml").exists();
        let place = if has_pool { self.path().join("pool") } else { self.path() };
        place.join("branches").join(branch).join("data")
    }

    /// Where the clients' sockets are that name no branch.
    pub fn socket_directory(&self) -> PathBuf {
        self.base.path().join("s")
    }

    /// The daemon's port.
    pub fn port(&self) -> u16 {
        self.ports.port
    }

    /// The PostgreSQL it uses.
    pub fn install(&self) -> &Install {
        &self.install
    }

    /// `nap --home HOME ARGUMENTS…`, to be added to or spawned.
    pub fn nap_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.nap);
        forget_environment(&mut command);
        command.arg("--home").arg(self.path()).args(arguments).current_dir("/");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `nap` to its end.
    pub fn nap(&self, arguments: &[&str]) -> Output {
        Output::of(&mut self.nap_command(arguments))
    }

    /// `nap up`, which must go well. A home's first start may find what `initdb` makes, made by another home's: who tests
    /// first starts says `nap(&["up"])`.
    #[track_caller]
    pub fn up(&self) -> &Self {
        let (home, major) = (self.path(), self.install.major);
        let has_template = template::give(&home, major);
        self.nap(&["up"]).ok();
        if !has_template {
            template::keep(&home, major);
        }
        self
    }

    /// The daemon's pid.
    #[track_caller]
    pub fn daemon_pid(&self) -> i32 {
        self.nap(&["status", "--json"]).json()["pid"].as_i64().expect("a pid") as i32
    }

    /// What the daemon has logged so far.
    #[track_caller]
    pub fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.path().join("log/nap.log")).expect("the daemon's log")
    }

    /// What `nap ls --json` says of a branch.
    #[track_caller]
    pub fn branch(&self, branch: &str) -> Option<serde_json::Value> {
        let listed = self.nap(&["ls", "--json"]).json();
        let branches = listed.as_array().or_else(|| listed["branches"].as_array()).expect("a list of branches");
        branches.iter().find(|entry| entry["name"] == branch).cloned()
    }

    /// The state of its server.
    #[track_caller]
    pub fn state(&self, branch: &str) -> String {
        let found = self.branch(branch).unwrap_or_else(|| panic!("no branch {branch}"));
        found["status"]["state"].as_str().expect("a state").to_owned()
    }

    /// The pid of its postmaster, from postmaster.pid: true with and without a daemon.
    pub fn server_pid(&self, branch: &str) -> Option<i32> {
        let text = std::fs::read_to_string(self.data(branch).join("postmaster.pid")).ok()?;
        text.lines().next()?.parse().ok().filter(|pid| process::is_alive(*pid))
    }

    /// Waits until its server is in this state.
    #[track_caller]
    pub fn wait_state(&self, branch: &str, state: &str) {
        let mut last = String::new();
        eventually(&format!("{branch} is {state}"), || {
            last = self.state(branch);
            (last == state).then_some(())
        });
    }

    /// `nap sleep`, as soon as the sessions that were just left are forgotten.
    #[track_caller]
    pub fn sleep(&self, branch: &str) {
        eventually(&format!("{branch} is put to sleep"), || self.nap(&["sleep", branch]).succeeded().then_some(()));
    }

    /// The daemon's socket for `nap` itself answers no more, and no process has its directory in the home.
    pub fn wait_nothing_runs(&self) {
        let home = self.path();
        eventually("nothing runs in the home", || process::below(&home).is_empty().then_some(()));
    }

    fn end_everything(&self) {
        let daemon = self.nap_command(&["down"]).output();
        let home = self.path();
        if daemon.is_ok_and(|output| output.status.success()) && process::below(&home).is_empty() {
            return;
        }
        let is_ours = |pid: &i32| process::command_line(*pid).contains(&home.display().to_string());
        let daemons = process::with_user_ids(&[0, rustix::process::geteuid().as_raw(), postgres_ids().0]);
        for pid in daemons.into_iter().filter(is_ours).chain(process::below(&home)) {
            process::kill9(pid);
        }
        eventually("the killed are gone", || process::below(&home).is_empty().then_some(()));
    }
}

impl Drop for TestHome {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in ["daemon.log", "nap.log"] {
                let text = std::fs::read_to_string(self.path().join("log").join(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().rev().take(40).collect();
                lines.iter().rev().for_each(|line| eprintln!("{name}: {line}"));
            }
            // A second panic would end the whole test process without a word.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.end_everything()));
        } else {
            self.end_everything();
        }
    }
}

/// User and group of the servers when root runs the test.
fn postgres_ids() -> (u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = passwd.lines().find(|line| line.starts_with("postgres:"));
    let numbers = line.map(|line| line.split(':').skip(2).take(2).filter_map(|n| n.parse().ok()).collect::<Vec<u32>>());
    match numbers.as_deref() {
        Some([user, group]) => (*user, *group),
        _ => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    }
}

/// Nothing of the caller's own PostgreSQL or Napgres may reach a test.
pub(crate) fn forget_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("PG") || (text.starts_with("NAP_") && !text.starts_with("NAP_TEST_")) {
            command.env_remove(&name);
        }
    }
}
