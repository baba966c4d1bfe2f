//! A real PostgreSQL behind the gateway, and clients before it.
#![allow(unreachable_pub, reason = "a module of one test")]

mod messages;

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nap_gateway::{
    Awake, BranchFacts, Branches, Door, Gateway, Limits, Opened, Order, Peers, Refusal, bind_tcp, bind_unix,
};
use nap_model::access::{AccessFacts, AccessSnapshot, Database, Role};
use nap_model::hba::{Files, Maps, Rules};
use nap_model::ids::{BranchName, Major};
use nap_model::lsn::Lsn;
use nap_model::settings::Settings;
use nap_wire::scram::Verifier;
use nap_wire::startup::encode_startup;
use tokio::sync::watch;

pub use messages::*;

/// How long something may take that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
pub const PASSWORD: &str = "secret";

fn bin(program: &str) -> PathBuf {
    let newest = |dir: &Path| {
        std::fs::read_dir(dir).ok()?.filter_map(|e| e.ok()?.file_name().into_string().ok()?.parse::<u16>().ok()).max()
    };
    let debian = Path::new("/usr/lib/postgresql");
    let major = newest(debian).expect("PostgreSQL in /usr/lib/postgresql");
    debian.join(major.to_string()).join("bin").join(program)
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    // A test that is killed takes its server with it.
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=QUIT", "--"]).arg(program);
    command
}

/// What the system calls the owner of a [`House`], whose rules are those of a new home.
const OWNER: &str = "owner";
/// What it calls everybody else.
const STRANGER: &str = "limited";

struct NewHome;

impl Files for NewHome {
    fn read(&self, path: &Path, _: usize) -> std::io::Result<Vec<u8>> {
        Ok(if path.ends_with("hba") { nap_model::hba::PG_HBA.into() } else { nap_model::hba::pg_ident(OWNER).into() })
    }

    fn names(&self, _: &Path) -> std::io::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

fn rules() -> Arc<Rules> {
    let maps = Maps::load(&NewHome, Path::new("/ident")).unwrap();
    Arc::new(Rules::load(&NewHome, Path::new("/hba"), Arc::new(maps)).unwrap())
}

/// One cluster, started by `wake` without waiting for it to be ready.
pub struct Cluster {
    directory: tempfile::TempDir,
    pub snapshot: AccessSnapshot,
    pub wakes: AtomicU32,
    pub starts: AtomicU32,
    postmaster: Mutex<Option<Child>>,
    /// What the next wakes do instead of the usual.
    pub script: Mutex<VecDeque<Step>>,
    pub holds: Arc<()>,
    rules: Arc<Rules>,
    /// The major that we say it is.
    pub major: AtomicU16,
}

/// What a wake may do.
pub enum Step {
    /// Gives this socket.
    Socket(PathBuf),
    /// Never ends.
    Never,
}

impl Cluster {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("gw").tempdir_in("/tmp").unwrap();
        let run = |command: &mut Command| {
            let output = command.stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        if rustix::process::geteuid().is_root() {
            run(Command::new("chown").arg("postgres").arg(directory.path()));
        }
        let data = directory.path().join("data");
        run(as_postgres(&bin("initdb"))
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data));
        let verifier = Verifier::derive(PASSWORD, b"0123456789abcdef", 4096).to_string();
        let single_user = format!(
            "create role alice login superuser password '{verifier}'\ncreate role nologin password '{verifier}'\n\
             create role expired login password '{verifier}'\ncreate role limited login connection limit 0\ncreate database shop\ncreate database alice\n"
        );
        let mut setup = as_postgres(&bin("postgres"));
        setup.arg("--single").args(["-F", "-D"]).arg(&data).arg("postgres");
        let mut child = setup.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(single_user.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());

        let role = |name: &str, can_login, verifier: Option<&str>, valid_until_us| Role {
            name: name.into(),
            can_login,
            verifier: verifier.map(str::to_owned),
            valid_until_us,
            connection_limit: -1,
            superuser: false,
        };
        let database = |name: &str| Database { name: name.into(), allows_connections: true, connection_limit: -1 };
        let snapshot = AccessSnapshot {
            system_identifier: 1,
            checkpoint: Lsn(0),
            roles: vec![
                role("postgres", true, None, None),
                role("alice", true, Some(&verifier), None),
                role("nologin", false, Some(&verifier), None),
                role("limited", true, None, None),
                role("expired", true, Some(&verifier), Some(1)),
            ],
            databases: ["postgres", "shop", "alice"].map(database).to_vec(),
            superusers: Vec::new(),
            enabled_subscriptions: 0,
            memberships: Some(Vec::new()),
        };
        Self {
            directory,
            snapshot,
            wakes: AtomicU32::new(0),
            starts: AtomicU32::new(0),
            postmaster: Mutex::new(None),
            script: Mutex::default(),
            holds: Arc::new(()),
            rules: rules(),
            major: AtomicU16::new(15),
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join(".s.PGSQL.5432")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&self) {
        let mut postmaster = self.postmaster.lock().unwrap();
        if postmaster.is_none() {
            self.starts.fetch_add(1, Ordering::SeqCst);
            let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
            let mut command = as_postgres(&bin("postgres"));
            command.arg("-D").arg(self.path("data")).arg("-k").arg(self.directory.path());
            command.args(["-h", "", "-p", "5432", "-F", "-c", "max_wal_senders=4"]);
            *postmaster = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let postmaster = self.postmaster.lock().map(|mut postmaster| postmaster.take());
        if let Ok(Some(mut child)) = postmaster {
            rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
            child.wait().unwrap();
        }
    }

    /// Shuts the server down, as a daemon that stops would.
    pub fn stop(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Branches for Cluster {
    fn answers_pings(&self, _: &BranchName) -> bool {
        true
    }

    fn default_branch(&self) -> BranchName {
        BranchName::main()
    }

    fn find(&self, name: &BranchName) -> Option<BranchFacts> {
        self.names().contains(name).then(|| BranchFacts { major: Major(self.major.load(Ordering::SeqCst)) })
    }

    fn names(&self) -> Vec<BranchName> {
        ["main", "feature-login"].map(|name| name.parse().unwrap()).to_vec()
    }

    fn rules(&self, _: &BranchName) -> Arc<Rules> {
        self.rules.clone()
    }

    async fn access(&self, _: &BranchName, role: &str, database: &str) -> Result<AccessFacts, Refusal> {
        Ok(self.snapshot.facts(role, database))
    }

    fn keep_awake(&self, _: &BranchName, _: bool) {}

    fn control_role(&self, _: &BranchName) -> Option<String> {
        None
    }

    fn control(&self, _: &BranchName, _: Order) {}

    async fn open_past(&self, _: &BranchName, _: &str, _: &str) -> Result<Opened, Refusal> {
        unreachable!("no test asks for it")
    }

    async fn wake(&self, _: &BranchName, _: tokio::time::Instant) -> Result<Awake, Refusal> {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        let step = self.script.lock().unwrap().pop_front();
        let socket = match step {
            Some(Step::Socket(socket)) => socket,
            Some(Step::Never) => std::future::pending().await,
            None => {
                self.start();
                self.socket()
            }
        };
        Ok(Awake { socket, superuser: "postgres".to_owned(), hold: Box::new(self.holds.clone()) })
    }
}

/// A gateway with a sleeping cluster behind it.
pub struct House {
    pub gateway: Gateway<Cluster>,
    pub cluster: Arc<Cluster>,
    pub limits: watch::Sender<Limits>,
    pub port: u16,
    pub doors: Vec<Door>,
    runtime: tokio::runtime::Runtime,
}

impl House {
    /// One whose owner we are.
    pub fn new() -> Self {
        Self::owned_by(rustix::process::geteuid().as_raw())
    }

    pub fn owned_by(owner_uid: u32) -> Self {
        let cluster = Arc::new(Cluster::new());
        let (limits, limits_seen) = watch::channel(Limits::from(&Settings::default()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let entered = runtime.enter();
        let name_of: fn(u32) -> Option<String> = if owner_uid == rustix::process::geteuid().as_raw() {
            |uid| Some(if uid == rustix::process::geteuid().as_raw() { OWNER } else { STRANGER }.to_owned())
        } else {
            |_| Some(STRANGER.to_owned())
        };
        let peers = Peers { owner_uid, name_of };
        let gateway = Gateway::start(cluster.clone(), limits_seen, peers, [9; 32], None).unwrap();
        let tcp = bind_tcp(&["127.0.0.1".into()], 0).unwrap().remove(0);
        let port = tcp.local_addr().unwrap().port();
        let doors = vec![gateway.serve_tcp(tcp, None).unwrap()];
        drop(entered);
        let house = Self { gateway, cluster, limits, port, doors, runtime };
        house.open_door("u", None)
    }

    /// Another Unix socket, in a directory of this name.
    pub fn open_door(mut self, name: &str, branch: Option<&str>) -> Self {
        let directory = self.cluster.path(name);
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let listener = bind_unix(&directory.join(".s.PGSQL.1")).unwrap();
        let _entered = self.runtime.enter();
        self.doors.push(self.gateway.serve_unix(listener, branch.map(|name| name.parse().unwrap())).unwrap());
        drop(_entered);
        self
    }

    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Waits until `look` sees it.
    pub fn eventually(&self, what: &str, mut look: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !look(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn wakes(&self) -> u32 {
        self.cluster.wakes.load(Ordering::SeqCst)
    }

    /// Where libpq finds us: the directory of the Unix socket of this name.
    pub fn door(&self, name: &str) -> String {
        format!("host={} port=1", self.cluster.path(name).display())
    }

    pub fn tcp(&self) -> String {
        format!("host=127.0.0.1 port={}", self.port)
    }

    /// A PostgreSQL client program.
    pub fn program(&self, program: &str) -> Command {
        let mut command = Command::new(bin(program));
        command.stdin(Stdio::null()).env_clear().env("PGPASSWORD", PASSWORD).env("PGCONNECT_TIMEOUT", "30");
        command
    }

    /// psql of a user who is neither root nor the owner of a house of root's: `postgres`, or who we are.
    pub fn stranger(&self, connection: &str) -> Output {
        let mut psql = as_postgres(&bin("psql"));
        psql.env_clear().env("PATH", "/usr/bin:/bin").args(["-XAtqd", connection, "-c", "select current_user"]);
        psql.stdin(Stdio::null()).output().unwrap()
    }

    pub fn psql(&self, connection: &str, arguments: &[&str]) -> Output {
        self.program("psql")
            .args(["-XAtq", "-v", "VERBOSITY=verbose", "-d", connection])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What psql prints; it must succeed.
    pub fn query(&self, connection: &str, sql: &str) -> String {
        let output = self.psql(connection, &["-c", sql]);
        assert!(output.status.success(), "{connection}: {}", text(&output.stderr));
        text(&output.stdout).trim_end().to_owned()
    }

    /// What a client is refused with, as `SQLSTATE: message`, detail and hint.
    pub fn refusal(&self, connection: &str) -> String {
        let connection = if connection.contains("password=") {
            connection.to_owned()
        } else {
            format!("{connection} password={PASSWORD}")
        };
        let connecting = tokio_postgres::connect(&connection, tokio_postgres::NoTls);
        let error = self.block_on(connecting).err().expect("a client that must be refused was let in");
        let error = error.as_db_error().unwrap_or_else(|| panic!("{connection}: {error:?}"));
        assert_eq!(error.severity(), "FATAL");
        let (detail, hint) = (error.detail().unwrap_or_default(), error.hint().unwrap_or_default());
        format!("{}: {}\n{detail}\n{hint}", error.code().code(), error.message())
    }

    /// A client without libpq, through the door "u".
    pub fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.cluster.path("u").join(".s.PGSQL.1")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A raw client that has sent a startup packet as `alice`.
    pub fn raw_startup(&self) -> UnixStream {
        let mut stream = self.raw();
        stream.write_all(&encode_startup(0, &[("user", "alice"), ("database", "shop")])).unwrap();
        stream
    }
}

impl Drop for House {
    /// The workers hold the cluster too, and end whenever they like: so its end is not left to its last owner.
    fn drop(&mut self) {
        self.cluster.signal(rustix::process::Signal::QUIT);
        let _ = std::fs::remove_dir_all(self.cluster.directory.path());
    }
}
