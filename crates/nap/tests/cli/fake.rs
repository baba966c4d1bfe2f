//! A home, and a daemon that answers from a script.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use nap_control::{
    Answer, ConnectionReport, Counts, Failure, FailureKind, PostgresReport, Reply, Request, StatusReport,
};
use nap_model::ids::{BranchName, Major};

/// A home in a directory of its own.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Request>>>,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    /// Without a daemon.
    pub(crate) fn down() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), asked: Arc::default() }
    }

    /// With a daemon.
    pub(crate) fn up() -> Self {
        let home = Self::down();
        let listener = UnixListener::bind(home.path("control.sock")).unwrap();
        let (asked, path) = (Arc::clone(&home.asked), home.dir.path().to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                if line.is_empty() {
                    continue;
                }
                let request: Request = serde_json::from_str(&line).unwrap();
                let reply = answer(&request, &path);
                asked.lock().unwrap().push(request);
                let line = serde_json::to_string(&reply).unwrap();
                // A command that is killed does not hear its reply.
                let _ = writeln!(stream, "{line}");
            }
        });
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nap"));
        command.args(arguments).env("NAP_HOME", self.dir.path()).env_remove("COLUMNS").stdin(Stdio::null());
        command
    }

    pub(crate) fn nap(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn answer(request: &Request, home: &Path) -> Reply {
    match request {
        Request::Status => Ok(Answer::Status(status(home))),
        Request::List { disk: false } => Ok(Answer::Branches(Vec::new())),
        Request::Connection { branch: Some(branch), .. } if branch.as_str() == "shop" => {
            Err(Failure::new(FailureKind::NotFound, "there is no branch \"shop\"").hint("`nap ls` shows all branches"))
        }
        Request::Connection { branch, database } => Ok(Answer::Connection(connection(branch, database))),
        Request::Wake { branch: Some(branch) } => {
            Err(Failure::new(FailureKind::NotFound, format!("there is no branch \"{branch}\""))
                .because("nobody made it\nat all")
                .hint("did you mean main?"))
        }
        Request::RemoveBranch { name, .. } => Ok(Answer::Removed(vec![name.clone()])),
        _ => Ok(Answer::Done),
    }
}

fn status(home: &Path) -> StatusReport {
    StatusReport {
        version: "0.1.0".into(),
        pid: u32::MAX >> 1,
        home: home.into(),
        port: 5433,
        listen_addresses: vec!["127.0.0.1".into()],
        socket_directories: Vec::new(),
        libpq_socket_missing: None,
        max_connections_lowered: None,
        uptime_ms: 1000,
        postgres: vec![PostgresReport { major: Major(15), bin: home.join("bin"), version: "15.14".into() }],
        counts: Counts::default(),
        sessions: Vec::new(),
    }
}

fn connection(branch: &Option<BranchName>, database: &Option<String>) -> ConnectionReport {
    let branch = branch.clone().unwrap_or_else(BranchName::main);
    ConnectionReport {
        default: branch == BranchName::main(),
        door: Some(Path::new("/h o/run").join(branch.as_str())),
        branch,
        host: "localhost".into(),
        port: 5433,
        role: "alice".into(),
        database: database.clone().unwrap_or_else(|| "alice".into()),
        password: Some("p'@".into()),
        default_socket_directory: None,
        ssl: true,
        root_certificate: Some("/h o/tls/root.crt".into()),
    }
}
