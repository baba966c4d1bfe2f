//! An identical copy of the branch's cluster for one contestant, and the settings that the servers share.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::account::{Account, run};
use crate::client::{Door, Target};

/// Where a cluster is and with which arguments its server is started.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    pub(crate) account: Account,
    pub(crate) bin: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) sockets: PathBuf,
    pub(crate) port: u16,
    /// All after the program's name.
    pub(crate) arguments: Vec<String>,
}

impl Cluster {
    /// What runs there now: its arguments from /proc, its socket from postmaster.pid.
    pub(crate) fn running(account: Account, data: &Path, pid: i32) -> Result<Self> {
        let line = std::fs::read(format!("/proc/{pid}/cmdline"))?;
        let line = String::from_utf8(line).context("a command line in UTF-8")?;
        let mut words = line.split('\0').filter(|word| !word.is_empty()).map(str::to_owned);
        let program = PathBuf::from(words.next().context("a program")?);
        let bin = std::fs::canonicalize(&program)?.parent().context("a bin directory")?.to_owned();
        let file = std::fs::read_to_string(data.join("postmaster.pid"))?;
        let mut lines = file.lines().skip(3);
        let port = lines.next().context("a port in postmaster.pid")?.parse()?;
        let sockets = lines.next().context("a socket directory in postmaster.pid")?.into();
        Ok(Self { account, bin, data: data.to_owned(), sockets, port, arguments: words.collect() })
    }

    /// Copies the (sleeping) cluster's files, block by block, and turns its arguments to the copy.
    pub(crate) fn copy_to(&self, directory: &Path) -> Result<Self> {
        self.copy_by("never", directory)
    }

    /// The same as a branch is made: sharing blocks where the file system can.
    pub(crate) fn clone_to(&self, directory: &Path) -> Result<Self> {
        self.copy_by("auto", directory)
    }

    fn copy_by(&self, reflink: &str, directory: &Path) -> Result<Self> {
        self.account.make_directory(directory)?;
        let (data, sockets) = (directory.join("data"), directory.join("s"));
        self.account.make_directory(&sockets)?;
        let mut copy = Command::new("cp");
        run(copy.arg("-a").arg(format!("--reflink={reflink}")).arg(&self.data).arg(&data))?;
        let turned = |from: &Path, to: &Path, text: &str| text.replace(&*from.to_string_lossy(), &to.to_string_lossy());
        let arguments = self
            .arguments
            .iter()
            .map(|word| turned(&self.sockets, &sockets, &turned(&self.data, &data, word)))
            .collect();
        Ok(Self { data, sockets, arguments, ..self.clone() })
    }

    /// With authentication by the user of the client's process, as the gateway's Unix socket has it: whoever it is may be
    /// postgres.
    pub(crate) fn with_peer(mut self) -> Result<Self> {
        let directory = self.sockets.parent().context("a directory")?;
        let (hba, ident) = (directory.join("hba"), directory.join("ident"));
        std::fs::write(&hba, "local all all peer map=anybody\n")?;
        std::fs::write(&ident, "anybody /^.*$ postgres\n")?;
        // Later settings on a command line win.
        for setting in [format!("hba_file={}", hba.display()), format!("ident_file={}", ident.display())] {
            self.arguments.extend(["-c".to_owned(), setting]);
        }
        Ok(self)
    }

    /// Whether its `postmaster.pid` says that connections are taken.
    pub(crate) fn says_ready(&self) -> bool {
        std::fs::read(self.data.join("postmaster.pid")).is_ok_and(|text| text.trim_ascii_end().ends_with(b"ready"))
    }

    /// `postgres` with the shared arguments.
    pub(crate) fn postgres(&self) -> Command {
        let mut command = self.account.command(self.bin.join("postgres"));
        command.args(&self.arguments);
        command
    }

    /// The same arguments but the data directory, for `pg_ctl -o`, which hands them to a shell.
    pub(crate) fn options(&self) -> String {
        let mut words = Vec::new();
        let mut all = self.arguments.iter();
        while let Some(word) = all.next() {
            if word == "-D" {
                all.next();
            } else {
                words.push(format!("'{}'", word.replace('\'', "'\\''")));
            }
        }
        words.join(" ")
    }

    /// `pg_ctl -D … ARGUMENTS…`
    pub(crate) fn pg_ctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.account.command(self.bin.join("pg_ctl"));
        command.arg("-D").arg(&self.data).args(arguments);
        command
    }

    /// The server's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.sockets.join(format!(".s.PGSQL.{}", self.port))
    }

    /// The server's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.sockets.with_file_name("log")
    }

    /// The superuser, by this socket.
    pub(crate) fn target(&self, socket: PathBuf) -> Target {
        Target { door: Door::Unix(socket), user: "postgres".into(), database: "postgres".into(), password: None }
    }
}
