//! Those that wake a PostgreSQL for a first row. Each starts from a server that is down, and leaves it down.

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::account::run;
use crate::client::{Target, first_row};
use crate::cluster::Cluster;
use crate::home::Home;

/// Nothing here takes this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// One way to a first row.
pub(crate) trait Contestant {
    /// For the table.
    fn name(&self) -> &str;
    /// From nothing running to the first row.
    fn round(&mut self) -> Result<Duration>;
}

/// `postgres` itself: spawned, and asked as soon as it accepts.
pub(crate) struct Bare {
    pub(crate) cluster: Cluster,
}

impl Contestant for Bare {
    fn name(&self) -> &str {
        "bare postgres"
    }

    fn round(&mut self) -> Result<Duration> {
        let (mut command, notified) = self.prepared()?;
        let started = Instant::now();
        let mut server = command.spawn()?;
        if let Some(socket) = notified {
            wait_for_ready(&socket);
        }
        let taken = ask_when_ready(&self.cluster, &mut server, started);
        end(&mut server, Signal::INT)?;
        taken.with_context(|| std::fs::read_to_string(self.cluster.log()).unwrap_or_default())
    }
}

impl Bare {
    /// The command, and where the server it starts will say that it is ready.
    pub(crate) fn prepared(&self) -> Result<(Command, Option<UnixDatagram>)> {
        let log = File::options().create(true).append(true).open(self.cluster.log())?;
        let mut command = self.cluster.postgres();
        command.stderr(log.try_clone()?).stdout(log);
        let notified = self.notifications()?;
        Ok(match notified {
            Some((socket, path)) => {
                command.env("NOTIFY_SOCKET", path);
                (command, Some(socket))
            }
            None => (command, None),
        })
    }

    /// Where the server says that it is ready, if it is a build that does; no other way tells it sooner.
    fn notifications(&self) -> Result<Option<(UnixDatagram, PathBuf)>> {
        const NAME: &[u8] = b"NOTIFY_SOCKET";
        let program = std::fs::read(self.cluster.bin.join("postgres"))?;
        if !program.windows(NAME.len()).any(|bytes| bytes == NAME) {
            return Ok(None);
        }
        let path = self.cluster.sockets.join("notify");
        drop(std::fs::remove_file(&path));
        let socket = UnixDatagram::bind(&path)?;
        self.cluster.account.own(&path)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        Ok(Some((socket, path)))
    }
}

/// A server that fails says nothing; then `ask_when_ready` says so.
fn wait_for_ready(socket: &UnixDatagram) {
    let mut said = [0; 512];
    while let Ok(length) = socket.recv(&mut said) {
        if said.get(..length).is_some_and(|said| said.starts_with(b"READY=1")) {
            return;
        }
    }
}

/// A tight loop on `postmaster.pid`, which says `ready` when connections are taken, then one connection. Connecting again
/// and again would be worse for the server: until it is ready, it forks a process for each try, only to refuse it.
pub(crate) fn ask_when_ready(cluster: &Cluster, server: &mut Child, started: Instant) -> Result<Duration> {
    let target = cluster.target(cluster.socket());
    loop {
        if cluster.says_ready() {
            first_row(&target)?;
            return Ok(started.elapsed());
        }
        if started.elapsed() > DEADLINE || server.try_wait()?.is_some() {
            bail!("no row within {DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// A sleeping branch behind `nap`.
pub(crate) struct Nap<'a> {
    pub(crate) name: &'static str,
    pub(crate) home: &'a Home,
    pub(crate) branch: &'a str,
    pub(crate) target: Target,
}

impl Contestant for Nap<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn round(&mut self) -> Result<Duration> {
        self.home.sleep_of(self.branch)?;
        let started = Instant::now();
        first_row(&self.target)?;
        let taken = started.elapsed();
        self.home.sleep_of(self.branch)?;
        Ok(taken)
    }
}

/// `systemd-socket-activate`, which starts the server by `pg_ctl` and becomes `systemd-socket-proxyd`.
pub(crate) struct Systemd {
    cluster: Cluster,
    script: PathBuf,
    listens_on: PathBuf,
}

impl Systemd {
    /// `None` where these programs are not installed.
    pub(crate) fn new(cluster: Cluster) -> Result<Option<Self>> {
        let Some(proxy) = proxy() else { return Ok(None) };
        let directory = cluster.sockets.parent().context("a directory")?;
        let script = directory.join("activated");
        // The server must not inherit the listening socket (descriptor 3).
        let text = format!(
            "#!/bin/sh\n'{}' -D '{}' -s -w -l '{}' -o \"$NAP_BENCH_OPTIONS\" start 3<&- </dev/null || exit 1\nexec {proxy} '{}'\n",
            cluster.bin.join("pg_ctl").display(),
            cluster.data.display(),
            cluster.log().display(),
            cluster.socket().display(),
        );
        std::fs::write(&script, text)?;
        let listens_on = directory.join("listen");
        Ok(Some(Self { cluster, script, listens_on }))
    }
}

fn proxy() -> Option<&'static str> {
    std::process::Command::new("systemd-socket-activate").arg("--version").output().ok()?;
    ["/usr/lib/systemd/systemd-socket-proxyd", "/lib/systemd/systemd-socket-proxyd"]
        .into_iter()
        .find(|path| Path::new(path).exists())
}

impl Contestant for Systemd {
    fn name(&self) -> &str {
        "systemd-socket-activate + -proxyd, pg_ctl"
    }

    fn round(&mut self) -> Result<Duration> {
        drop(std::fs::remove_file(&self.listens_on));
        let mut command = self.cluster.account.command("systemd-socket-activate");
        command.arg("-l").arg(&self.listens_on);
        command.arg(format!("--setenv=NAP_BENCH_OPTIONS={}", self.cluster.options()));
        command.args(["/bin/sh".as_ref(), self.script.as_os_str()]);
        let log = self.script.with_extension("log");
        let said = File::create(&log)?;
        let mut activator = command.stdout(said.try_clone()?).stderr(said).spawn()?;
        let taken = wait_for_listener(&log).and_then(|()| {
            let started = Instant::now();
            first_row(&self.cluster.target(self.listens_on.clone()))?;
            Ok(started.elapsed())
        });
        end(&mut activator, Signal::TERM)?;
        let stopped = run(&mut self.cluster.pg_ctl(&["-m", "fast", "-s", "-w", "stop"]));
        let taken = taken?;
        stopped?;
        Ok(taken)
    }
}

/// The socket's file is there a moment before it can be connected to, so what the activator says is waited for.
fn wait_for_listener(log: &Path) -> Result<()> {
    let started = Instant::now();
    while !std::fs::read_to_string(log)?.contains("Listening on") {
        if started.elapsed() > DEADLINE {
            bail!("systemd-socket-activate does not listen");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What a script does: `pg_ctl -w start && psql`, psql's own start included.
pub(crate) struct PgCtl {
    pub(crate) cluster: Cluster,
}

impl Contestant for PgCtl {
    fn name(&self) -> &str {
        "pg_ctl -w start && psql"
    }

    fn round(&mut self) -> Result<Duration> {
        let log = self.cluster.log();
        let options = self.cluster.options();
        let mut start = self.cluster.pg_ctl(&["-s", "-w", "-l"]);
        start.arg(log).arg("-o").arg(options).arg("start");
        let mut psql = self.cluster.account.command(self.cluster.bin.join("psql"));
        psql.args(["-XqAt", "-U", "postgres", "-d", "postgres", "-c", "select 1", "-h"]).arg(&self.cluster.sockets);
        psql.arg("-p").arg(self.cluster.port.to_string());
        let started = Instant::now();
        // Its output is not read: the server keeps the descriptors that pg_ctl had.
        let good = start.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status()?;
        anyhow::ensure!(good.success(), "pg_ctl start: {good}");
        let row = run(&mut psql);
        let taken = started.elapsed();
        run(&mut self.cluster.pg_ctl(&["-m", "fast", "-s", "-w", "stop"]))?;
        anyhow::ensure!(row? == "1", "psql printed another row");
        Ok(taken)
    }
}

pub(crate) fn end(child: &mut Child, signal: Signal) -> Result<()> {
    let pid = Pid::from_child(child);
    kill_process(pid, signal).ok();
    child.wait()?;
    Ok(())
}
