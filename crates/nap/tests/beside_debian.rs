//! A cluster of Debian's own beside us: it has its port and its socket, and we stay out of its way.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nap_testkit::{Output, TestHome, as_server_user, give_to_server_user, is_root};

const FIRST_PORT: u16 = 5432;

/// A cluster of pg_createcluster's, dropped at the end.
struct Debian {
    major: String,
    name: String,
}

impl Debian {
    /// `None`: not root, or no Debian.
    fn major() -> Option<String> {
        if !is_root() || !Path::new("/usr/bin/pg_createcluster").exists() {
            return None;
        }
        let majors = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        majors.filter_map(|entry| entry.file_name().into_string().ok()).max()
    }

    /// Made, and not started.
    fn create(arguments: &[&str]) -> Option<Self> {
        let (major, name) = (Self::major()?, format!("naptest{}", std::process::id()));
        let mut command = Command::new("pg_createcluster");
        Output::of(command.args([&major, &name]).args(arguments)).ok();
        Some(Self { major, name })
    }

    fn start(&self) -> Output {
        Output::of(Command::new("pg_ctlcluster").args([&self.major, &self.name, "start"]))
    }

    fn data(&self) -> PathBuf {
        Path::new("/var/lib/postgresql").join(&self.major).join(&self.name)
    }

    fn pid(&self) -> String {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().to_owned()
    }

    /// The configuration, and what data a server at rest does not write.
    fn files(&self) -> BTreeMap<PathBuf, (u64, i64, u32)> {
        let conf = Path::new("/etc/postgresql").join(&self.major).join(&self.name);
        let mut found = BTreeMap::new();
        let mut directories = vec![conf, self.data().join("global"), self.data().join("base/1")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().flatten() {
                let facts = entry.metadata().unwrap();
                if facts.is_file() && entry.file_name() != "pg_internal.init" && entry.file_name() != "pg_control" {
                    found.insert(entry.path(), (facts.size(), facts.mtime(), facts.uid()));
                }
            }
        }
        found
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = Command::new("pg_dropcluster").args(["--stop", &self.major, &self.name]).output();
    }
}

/// A home as a newcomer has it: nothing is set but what keeps the test to its PostgreSQL.
fn newcomer(port: Option<u16>) -> TestHome {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let mut text = format!("postgres_bin = \"{}\"\n", home.install().bin.display());
    text.extend(port.map(|port| format!("port = {port}\n")));
    let toml = home.path().join("nap.toml");
    std::fs::write(&toml, text).unwrap();
    give_to_server_user(&toml);
    home
}

fn is_taken(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
        || std::os::unix::net::UnixStream::connect(format!("/var/run/postgresql/.s.PGSQL.{port}")).is_ok()
}

/// What Debian's own user gets by a psql without arguments.
fn bare_psql(port: Option<u16>) -> String {
    let mut psql = as_server_user("/usr/bin/psql");
    psql.envs(port.map(|port| ("PGPORT", port.to_string())));
    let sql = "select current_setting('cluster_name')";
    Output::of(psql.args(["-XAt", "-d", "postgres", "-c", sql])).ok().to_owned()
}

#[test]
fn debians_cluster_on_5432_keeps_its_port_and_we_say_once_that_we_have_another() {
    // Where 5432 is somebody's already, that is the foreign server, and Debian's cluster is made beside it.
    let theirs = is_taken(FIRST_PORT);
    let arguments: &[&str] = if theirs { &[] } else { &["-p", "5432"] };
    let Some(debian) = Debian::create(arguments) else { return };
    debian.start().ok();
    let cluster = format!("{}/{}", debian.major, debian.name);
    assert!(theirs || bare_psql(None) == cluster);
    let (pid, files) = (debian.pid(), debian.files());

    let home = newcomer(None);
    let up = home.nap(&["up"]);
    up.ok();
    let port = home.nap(&["status", "--json"]).json()["port"].as_u64().unwrap();
    assert!((54_320..54_520).contains(&port), "{up}");
    assert!(up.stderr.contains("port 5432 belongs to"), "it is said: {up}");
    assert!(up.stderr.contains(&format!("port {port} from now on")), "{up}");
    assert!(theirs || up.stderr.contains(&format!("postgres (PID {pid})")), "and whose it is: {up}");
    assert!(!up.stderr.contains("psql -p"), "which not every user can write a socket for: {up}");
    assert_eq!(home.psql("main", "select 1").ok(), "1");
    let port = u16::try_from(port).unwrap();
    assert_eq!(bare_psql(Some(port)), "nap/main", "our socket is beside theirs");
    assert!(home.nap(&["status"]).ok().contains("beside us   port 5432 belongs to"));
    let doctor = home.nap(&["doctor"]);
    assert!(doctor.stdout.contains("port 5432 belongs to"), "{doctor}");

    home.nap(&["down"]).ok();
    let again = home.nap(&["up"]);
    assert!(again.succeeded() && !again.stderr.contains("5432"), "once is enough: {again}");
    home.nap(&["down"]).ok();
    assert!(theirs || bare_psql(None) == cluster, "a bare psql still goes there");
    assert_eq!((debian.pid(), debian.files()), (pid, files), "nothing of it was touched");
}

#[test]
fn debians_cluster_that_comes_later_gets_another_port_or_an_error_of_its_own() {
    let own = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let home = newcomer(Some(own.port()));
    home.up();
    home.psql("main", "create table kept as select 1 as number").ok();
    let port = own.port().to_string();
    let Some(debian) = Debian::create(&["-p", &port]) else { return };
    let start = debian.start();
    assert!(!start.succeeded(), "{start}");
    assert_eq!(home.psql("main", "select number from kept").ok(), "1", "we go on as before");
    assert_eq!(bare_psql(Some(own.port())), "nap/main");
    home.nap(&["down"]).ok();
    debian.start().ok();
    let up = home.nap(&["up"]);
    assert!(up.fails_with(1).contains("postgres (PID"), "now the port is theirs: {up}");
    assert_eq!(bare_psql(Some(own.port())), format!("{}/{}", debian.major, debian.name));
}
