//! A service manager as far as a daemon knows one: it keeps sockets, and hears what it is told.

use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nap_testkit::process::{self, Signal};
use nap_testkit::{DEADLINE, TestHome, eventually};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// Above what a test has open, and far above the daemon's 3, 4, 5.
const KEPT_FROM: i32 = 100;

/// Sockets by their names, kept for one daemon after the other.
pub(crate) struct Manager<'a> {
    home: &'a TestHome,
    kept: Vec<(String, OwnedFd)>,
    hears: UnixDatagram,
}

/// A daemon that it started.
pub(crate) struct Service {
    pub(crate) daemon: Child,
}

impl<'a> Manager<'a> {
    pub(crate) fn new(home: &'a TestHome) -> Self {
        let path = home.beside().join("notify");
        let hears = UnixDatagram::bind(&path).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        hears.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        Self { home, kept: Vec::new(), hears }
    }

    /// Keeps a socket under this name.
    pub(crate) fn keep(mut self, name: &str, socket: impl AsFd) -> Self {
        let kept = fcntl_dupfd_cloexec(socket, KEPT_FROM).unwrap();
        fcntl_setfd(&kept, FdFlags::empty()).unwrap();
        self.kept.push((name.to_owned(), kept));
        self
    }

    /// Keeps the home's own port for everybody.
    pub(crate) fn keep_the_port(self) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", self.home.port())).unwrap();
        self.keep("napgres.socket", listener)
    }

    /// `nap ARGUMENTS…` with all of the sockets, as systemd hands them over.
    pub(crate) fn run(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        let nap = self.home.nap_command(arguments);
        let moves = self.kept.iter().enumerate().map(|(index, (_, socket))| {
            let kept = socket.as_raw_fd();
            format!("exec {}<&{kept} {kept}<&-; ", index + 3)
        });
        let script: String = moves.chain(["export LISTEN_PID=$$; exec \"$@\"".to_owned()]).collect();
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &script, "bash"]).arg(nap.get_program()).args(nap.get_args()).current_dir("/");
        let names: Vec<&str> = self.kept.iter().map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        command.env("NOTIFY_SOCKET", self.home.beside().join("notify")).envs(environment.iter().copied());
        let log =
            std::fs::File::options().create(true).append(true).open(self.home.beside().join("daemon.log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// A daemon, as soon as it says that it is ready.
    pub(crate) fn start(&self, environment: &[(&str, &str)]) -> Service {
        let service = Service { daemon: self.run(&["up", "--foreground"], environment) };
        self.hears_of("READY=1");
        service
    }

    /// What the daemons have said on standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.beside().join("daemon.log")).unwrap()
    }

    /// The next message, if there is one soon.
    pub(crate) fn heard(&self) -> Option<String> {
        let mut message = [0; 4096];
        let count = self.hears.recv(&mut message).ok()?;
        Some(String::from_utf8(message[..count].to_vec()).unwrap())
    }

    /// Waits for a message with this line, and gives all up to it.
    #[track_caller]
    pub(crate) fn hears_of(&self, line: &str) -> Vec<String> {
        let (begun, mut heard) = (Instant::now(), Vec::new());
        while begun.elapsed() < DEADLINE {
            heard.extend(self.heard());
            if heard.last().is_some_and(|message| message.lines().any(|found| found == line)) {
                return heard;
            }
        }
        panic!("nothing was heard of {line}, but {heard:?}\n{}", self.log());
    }
}

impl Service {
    pub(crate) fn pid(&self) -> i32 {
        self.daemon.id() as i32
    }

    /// SIGTERM to the daemon alone.
    pub(crate) fn stop(mut self) {
        process::signal(self.pid(), Signal::TERM);
        assert!(self.daemon.wait().unwrap().success());
    }

    pub(crate) fn kill(mut self) {
        process::kill9(self.pid());
        self.daemon.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
    }
}

/// It ends by itself, with this exit code.
#[track_caller]
pub(crate) fn ends_with(mut child: Child, code: i32) {
    let status = eventually("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(code));
}
