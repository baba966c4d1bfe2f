//! A home of `nap` for the bench: made, put to sleep, looked into, ended.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::account::{Account, run};
use crate::client::{Door, Target};

/// A client that said goodbye is forgotten long before.
const SESSION_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// A daemon of our own. It is shut down when this is dropped.
pub(crate) struct Home {
    nap: PathBuf,
    path: PathBuf,
    sockets: PathBuf,
    port: u16,
}

impl Home {
    /// Makes it below `base` and brings it up, with a server that goes to sleep only when it is told to.
    pub(crate) fn up(nap: &Path, base: &Path, account: Account) -> Result<Self> {
        Self::up_with(nap, base, account, "")
    }

    /// The same with more settings, one in a line.
    pub(crate) fn up_with(nap: &Path, base: &Path, account: Account, more: &str) -> Result<Self> {
        let (path, sockets) = (base.join("home"), base.join("s"));
        account.make_directory(&path)?;
        account.make_directory(&sockets)?;
        let port = free_ports()?;
        let settings = format!(
            "port = {port}\nsleep_after = \"never\"\nunix_socket_directory = \"{}\"\n{more}",
            sockets.display()
        );
        std::fs::write(path.join("nap.toml"), settings)?;
        account.own(&path.join("nap.toml"))?;
        let home = Self { nap: nap.to_owned(), path, sockets, port };
        home.nap(&["up"])?;
        Ok(home)
    }

    /// Runs `nap`.
    pub(crate) fn nap(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new(&self.nap).arg("--home").arg(&self.path).args(arguments))
    }

    /// Where its socket is.
    pub(crate) fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// The number in the name of that.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where what is removed lies until it is deleted.
    pub(crate) fn trash(&self) -> PathBuf {
        self.path.join("trash")
    }

    /// The data directory of the branch `main`.
    pub(crate) fn data(&self) -> PathBuf {
        self.data_of("main")
    }

    /// The data directory of a branch.
    pub(crate) fn data_of(&self, branch: &str) -> PathBuf {
        self.path.join("branches").join(branch).join("data")
    }

    /// Puts the server to sleep and makes sure of it. The session that was just left may still count for a moment.
    pub(crate) fn sleep(&self) -> Result<()> {
        self.sleep_of("main")
    }

    /// The same with any branch.
    pub(crate) fn sleep_of(&self, branch: &str) -> Result<()> {
        let started = Instant::now();
        while let Err(error) = self.nap(&["sleep", branch]) {
            if started.elapsed() > SESSION_ENDS_WITHIN {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        anyhow::ensure!(
            !self.data_of(branch).join("postmaster.pid").exists(),
            "the server is not asleep after `nap sleep`"
        );
        Ok(())
    }

    /// Wakes it; its pid.
    pub(crate) fn wake(&self) -> Result<i32> {
        self.nap(&["wake", "main"])?;
        let file = std::fs::read_to_string(self.data().join("postmaster.pid"))?;
        Ok(file.lines().next().context("a pid")?.parse()?)
    }

    /// The daemon's process.
    pub(crate) fn daemon(&self) -> Result<i32> {
        let text = std::fs::read_to_string(self.path.join("lock"))?;
        text.split_whitespace().next().context("a process id in the lock file")?.parse().context("a process id")
    }

    /// Through the gateway's Unix socket: peer authentication.
    pub(crate) fn by_unix_socket(&self) -> Target {
        self.by_unix_socket_to("main")
    }

    /// The same with any branch.
    pub(crate) fn by_unix_socket_to(&self, branch: &str) -> Target {
        Target {
            door: Door::Unix(self.sockets.join(format!(".s.PGSQL.{}", self.port))),
            user: "postgres".into(),
            database: format!("postgres@{branch}"),
            password: None,
        }
    }

    /// Through the gateway's TCP port: SCRAM, with the role and password of `nap url`.
    pub(crate) fn by_tcp(&self) -> Result<Target> {
        let url = self.nap(&["url", "postgres@main"])?;
        let (user, password) = credentials(&url).with_context(|| format!("no role and password in {url}"))?;
        Ok(Target { door: Door::Tcp(self.port), user, database: "postgres@main".into(), password: Some(password) })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = self.nap(&["down"]) {
            eprintln!("nap down: {error:#}");
        }
    }
}

fn credentials(url: &str) -> Option<(String, String)> {
    let (_, rest) = url.split_once("://")?;
    let (user, rest) = rest.split_once(':')?;
    let (password, _) = rest.split_once('@')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Two free ports in a row, below the ephemeral range.
pub(crate) fn free_ports() -> Result<u16> {
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut ports = (23_000..32_000).step_by(2);
    ports.find(|port| is_free(*port) && is_free(*port + 1)).context("no free pair of ports")
}
