//! The ways to a server, and the servers at their ends: `nap` with its own, and a copy of it that is reached directly
//! and through PgBouncer.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::Common;
use crate::account::{Account, run};
use crate::client::{Door, Target};
use crate::cluster::Cluster;
use crate::contestants::{ask_when_ready, end};
use crate::forward::pgbouncer::PgBouncer;
use crate::home::{Home, free_ports};
use crate::process::Process;

pub(crate) const DIRECT: &str = "direct";
pub(crate) const NAP: &str = "nap";
pub(crate) const PGBOUNCER: &str = "PgBouncer";
/// A second one, beside the first: how far two ways that are the same come apart here.
pub(crate) const CONTROL: &str = "PgBouncer again";

/// Room for the most clients three times, because a PgBouncer keeps its backends; enough memory for the data, and no work of the servers' own in between.
const SETTINGS: &str = "max_connections = 600\nshared_buffers = 256MB\nmax_wal_size = 8GB\nautovacuum = off\n";
/// pgbench's: a million accounts.
const SCALE: &str = "10";

/// One way.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    port: u16,
    database: &'static str,
    /// What stands between.
    pub(crate) forwarder: Option<Process>,
}

impl Way {
    /// What its forwarder has spent so far.
    pub(crate) fn spent(&self) -> Result<Option<Spent>> {
        let Some(forwarder) = &self.forwarder else { return Ok(None) };
        Ok(Some(Spent { processor_time: forwarder.processor_time()?, sleeps: forwarder.switches()? }))
    }
}

/// Processor time, and how often a thread went to sleep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) processor_time: Duration,
    pub(crate) sleeps: f64,
}

/// All ways, open. Dropped in this order: PgBouncer goes before the server it uses.
pub(crate) struct Ways {
    pgbouncer: PgBouncer,
    _control: PgBouncer,
    server: Server,
    _home: Home,
    all: Vec<Way>,
    login: Target,
    directory: PathBuf,
}

/// A server that is reached directly, shut down when this is dropped.
pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = end(&mut self.process, Signal::INT) {
            eprintln!("the server could not be ended: {error:#}");
        }
    }
}

/// The certificate that everybody shows.
pub(crate) struct Certificate {
    pub(crate) file: PathBuf,
    pub(crate) key: PathBuf,
}

impl Ways {
    pub(crate) fn open(common: &Common, account: Account) -> Result<Self> {
        let program = PgBouncer::program()?;
        let home = Home::up(&common.nap, &common.base, account)?;
        home.sleep()?;
        let mut settings = File::options().append(true).open(home.data().join("postgresql.conf"))?;
        settings.write_all(SETTINGS.as_bytes())?;
        let running = Cluster::running(account, &home.data(), home.wake()?)?;
        let login = home.by_tcp()?;
        let Door::Tcp(nap_port) = login.door else { anyhow::bail!("no TCP port") };
        let nap =
            Way { name: NAP, port: nap_port, database: "postgres@main", forwarder: Some(Process(home.daemon()?)) };
        fill(&running, &login, &nap)?;
        home.sleep()?;

        let tls = common.base.join("home/tls");
        let certificate = Certificate { file: tls.join("server.crt"), key: tls.join("server.key") };
        let port = free_ports()?;
        let server = Server::start(running.copy_to(&common.base.join("direct"))?, port, &certificate)?;
        home.wake()?;
        let pooled = |name: &'static str, port| -> Result<(PgBouncer, Way)> {
            let directory = common.base.join(name.replace(' ', "-"));
            let pgbouncer = PgBouncer::start(&program, &directory, &server, port, &login.user, &certificate)?;
            let forwarder = Some(pgbouncer.process());
            Ok((pgbouncer, Way { name, port, database: "postgres", forwarder }))
        };
        let (pgbouncer, first) = pooled(PGBOUNCER, port + 1)?;
        let (control, second) = pooled(CONTROL, free_ports()?)?;
        let direct = Way { name: DIRECT, port, database: "postgres", forwarder: None };
        Ok(Self {
            pgbouncer,
            _control: control,
            server,
            _home: home,
            all: vec![direct, nap, first, second],
            login,
            directory: common.base.clone(),
        })
    }

    pub(crate) fn all(&self) -> &[Way] {
        self.all.get(..3).unwrap_or_default()
    }

    pub(crate) fn all_and_control(&self) -> &[Way] {
        &self.all
    }

    /// For what the bench itself keeps.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Of the server that is reached directly: the same as that of `nap` but for where it listens.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.server.cluster
    }

    pub(crate) fn pgbouncer_version(&self) -> &str {
        self.pgbouncer.version()
    }

    /// One of PostgreSQL's programs, which will find its way and its password.
    pub(crate) fn client(&self, program: &str, way: &Way, sslmode: &str, arguments: &[&str]) -> Command {
        client(&self.server.cluster, &self.login, program, way, sslmode, arguments)
    }

    /// The same statement on both servers.
    pub(crate) fn prepare(&self, statement: &str) -> Result<()> {
        for way in self.all().iter().filter(|way| way.name != PGBOUNCER) {
            run(&mut self.client("psql", way, "disable", &["-Xqc", statement]))?;
        }
        Ok(())
    }
}

fn client(cluster: &Cluster, login: &Target, program: &str, way: &Way, sslmode: &str, arguments: &[&str]) -> Command {
    let mut command = cluster.account.command(cluster.bin.join(program));
    command.env("PGHOST", "127.0.0.1").env("PGPORT", way.port.to_string()).env("PGDATABASE", way.database);
    command.env("PGUSER", &login.user).env("PGPASSWORD", login.password.as_deref().unwrap_or_default());
    command.env("PGSSLMODE", sslmode).args(arguments);
    command
}

fn fill(cluster: &Cluster, login: &Target, nap: &Way) -> Result<()> {
    run(&mut client(cluster, login, "pgbench", nap, "disable", &["-iq", "-s", SCALE]))?;
    run(&mut client(cluster, login, "psql", nap, "disable", &["-Xqc", "vacuum (freeze, analyze)"]))?;
    Ok(())
}

impl Server {
    /// With the arguments that `nap` has for its own, but on TCP, where a password is asked for.
    fn start(mut cluster: Cluster, port: u16, certificate: &Certificate) -> Result<Self> {
        let rules = cluster.sockets.with_file_name("pg_hba.conf");
        std::fs::write(&rules, "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")?;
        cluster.account.own(&rules)?;
        cluster.port = port;
        let settings = [
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", port.to_string()),
            ("hba_file", rules.display().to_string()),
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", certificate.file.display().to_string()),
            ("ssl_key_file", certificate.key.display().to_string()),
        ];
        // Of two with the same name the later one counts.
        cluster
            .arguments
            .extend(settings.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]));
        Self::spawn(cluster)
    }

    /// On its Unix socket only, where everybody is let in.
    pub(crate) fn start_plain(mut cluster: Cluster, port: u16) -> Result<Self> {
        let rules = cluster.sockets.with_file_name("pg_hba.conf");
        std::fs::write(&rules, "local all all trust\nlocal replication all trust\n")?;
        cluster.account.own(&rules)?;
        cluster.port = port;
        let settings = [format!("port={port}"), format!("hba_file={}", rules.display())];
        cluster.arguments.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        Self::spawn(cluster)
    }

    fn spawn(cluster: Cluster) -> Result<Self> {
        let log = File::options().create(true).append(true).open(cluster.log())?;
        let process = cluster.postgres().stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut server = Self { cluster, process };
        ask_when_ready(&server.cluster, &mut server.process, Instant::now())
            .with_context(|| std::fs::read_to_string(server.cluster.log()).unwrap_or_default())?;
        Ok(server)
    }
}
