//! A real systemd, as a user's manager, that restarts the service and stops it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nap_testkit::process;
use nap_testkit::{Output, Sandbox, TestHome, as_server_user, eventually, give_to_server_user};

use crate::home;
use crate::sockets::knock;

const SYSTEMD: &str = "/lib/systemd/systemd";

/// The manager of the user that servers run as. It wants a machine that systemd has booted, and control groups of its own.
struct UserManager<'a> {
    home: &'a TestHome,
    sandbox: Sandbox,
    systemd: Child,
    groups: Vec<PathBuf>,
}

impl<'a> UserManager<'a> {
    /// `None`: there is no systemd, or this test is not run by root.
    fn start(home: &'a TestHome) -> Option<Self> {
        let sandbox = Sandbox::with("mount -t tmpfs none /run; mkdir -p /run/systemd/system")?;
        if !Path::new(SYSTEMD).exists() {
            assert!(!nap_testkit::is_full_run(), "systemd is missing");
            return None;
        }
        for directory in ["user", "runtime"] {
            std::fs::create_dir(home.beside().join(directory)).unwrap();
            give_to_server_user(&home.beside().join(directory));
        }
        // There is no journal in the sandbox.
        let dropped_in = home.beside().join("user/.config/systemd/user/napgres.service.d");
        std::fs::create_dir_all(&dropped_in).unwrap();
        let said = home.beside().join("daemon.log");
        std::fs::write(dropped_in.join("log.conf"), format!("[Service]\nStandardError=append:{}\n", said.display()))
            .unwrap();
        Output::of(Command::new("chown").args(["-R", "postgres"]).arg(home.beside().join("user"))).ok();
        std::fs::write(&said, "").unwrap();
        give_to_server_user(&said);
        let name = format!("nap-test-{}", std::process::id());
        let hierarchies = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"].map(PathBuf::from);
        let groups: Vec<PathBuf> = hierarchies
            .iter()
            .filter(|hierarchy| hierarchy.join("cgroup.procs").exists())
            .map(|hierarchy| hierarchy.join(&name))
            .collect();
        for group in &groups {
            std::fs::create_dir(group).unwrap();
            Output::of(Command::new("chown").args(["-R", "postgres"]).arg(group)).ok();
        }
        let enter: String = groups.iter().map(|group| format!("echo $$ >{}/cgroup.procs; ", group.display())).collect();
        let systemd = Self::of_the_user(home, SYSTEMD, &["--user"]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{enter}exec \"$@\""), "sh"]).arg(systemd.get_program()).args(systemd.get_args());
        for (name, value) in systemd.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let mut command = sandbox.inside(&command);
        let systemd = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let manager = Self { home, sandbox, systemd, groups };
        eventually("systemd answers", || {
            manager.run("systemctl", &["--user", "is-system-running", "--wait"]).succeeded().then_some(())
        });
        Some(manager)
    }

    fn of_the_user(home: &TestHome, program: &str, arguments: &[&str]) -> Command {
        let mut command = as_server_user(program);
        command.args(arguments).env("HOME", home.beside().join("user"));
        command.env("XDG_RUNTIME_DIR", home.beside().join("runtime"));
        command.env_remove("XDG_CONFIG_HOME").env_remove("DBUS_SESSION_BUS_ADDRESS");
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Output::of(&mut self.sandbox.inside(&Self::of_the_user(self.home, program, arguments)))
    }

    fn nap(&self, arguments: &[&str]) -> Output {
        let nap = self.home.nap_command(arguments);
        let words: Vec<&str> = nap.get_args().map(|word| word.to_str().unwrap()).collect();
        self.run(nap.get_program().to_str().unwrap(), &words)
    }

    /// What the daemons have said on standard error.
    fn log(&self) -> String {
        std::fs::read_to_string(self.home.beside().join("daemon.log")).unwrap()
    }

    fn systemctl(&self, arguments: &[&str]) -> Output {
        self.run("systemctl", &[&["--user"], arguments].concat())
    }
}

impl Drop for UserManager<'_> {
    fn drop(&mut self) {
        let _ = self.systemctl(&["stop", "napgres.socket", "napgres.service"]);
        let _ = self.systemctl(&["exit"]);
        let _ = self.systemd.wait();
        for group in &self.groups {
            let _ =
                Command::new("find").arg(group).args(["-depth", "-type", "d", "-exec", "rmdir", "{}", ";"]).status();
        }
    }
}

/// With and without sockets that systemd keeps.
async fn a_restart_leaves_sessions_alone(home: &TestHome, socket: &[&str]) {
    home.up();
    home.nap(&["branch", "feature"]).ok();
    home.nap(&["down"]).ok();
    let Some(manager) = UserManager::start(home) else { return };
    manager.nap(&[&["service", "install"], socket].concat()).ok();
    if !socket.is_empty() {
        knock(home.port());
        eventually("it is up", || home.nap(&["status"]).succeeded().then_some(()));
    }
    let (busy, connection) = home.config("postgres@main").connect(tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    busy.batch_execute("begin; create table made (n int); create temp table own as select 1 as n").await.unwrap();
    let parked = home.connect("postgres@feature").await;
    parked.batch_execute("set my.setting = 'kept'").await.unwrap();
    home.sleep("feature");
    let server = home.server_pid("main");
    let units = [["napgres.service"].as_slice(), &["napgres.service"], &["napgres.socket", "napgres.service"]];
    for units in units.into_iter().take(if socket.is_empty() { 2 } else { 3 }) {
        let daemon = home.daemon_pid();
        let restarted = manager.systemctl(&[&["restart"], units].concat());
        assert!(restarted.succeeded(), "{restarted}{}", manager.log());
        assert_ne!(home.daemon_pid(), daemon);
        assert_eq!(home.server_pid("main"), server, "its server has run on");
        let own: i32 = busy.query_one("select n from own", &[]).await.unwrap().get(0);
        assert_eq!(own, 1);
    }
    busy.batch_execute("commit; select from made").await.unwrap();
    let kept: String = parked.query_one("select current_setting('my.setting')", &[]).await.unwrap().get(0);
    assert_eq!(kept, "kept");
    let stored = manager.systemctl(&["show", "--value", "-p", "NFileDescriptorStore", "napgres.service"]);
    assert_eq!(stored.ok(), "0", "what was taken up is left there no longer");

    manager.systemctl(&["stop", "napgres.service"]).ok();
    let error = connection.await.unwrap().unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("57P01"), "{error:?}");
    assert!(!process::is_alive(server.unwrap()), "a stop is one");
}

#[tokio::test]
async fn sessions_live_through_a_restart() {
    a_restart_leaves_sessions_alone(&home(), &[]).await;
}

#[tokio::test]
async fn sessions_live_through_a_restart_with_sockets_that_systemd_keeps() {
    a_restart_leaves_sessions_alone(&home(), &["--socket"]).await;
}
