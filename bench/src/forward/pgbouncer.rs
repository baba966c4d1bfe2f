//! PgBouncer as Debian has it: session mode, a pool for everybody, and the server's Unix socket behind it.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::account::run;
use crate::contestants::{DEADLINE, end};
use crate::forward::ways::{Certificate, Server};
use crate::process::Process;

/// A running PgBouncer, ended when this is dropped.
pub(crate) struct PgBouncer {
    process: Child,
    version: String,
}

impl PgBouncer {
    /// Where it is: not in everybody's PATH.
    pub(crate) fn program() -> Result<PathBuf> {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let mut directories: Vec<PathBuf> = std::env::split_paths(&paths).collect();
        directories.push("/usr/sbin".into());
        let mut programs = directories.into_iter().map(|directory| directory.join("pgbouncer"));
        programs.find(|path| path.is_file()).context("PgBouncer is missing (on Debian: apt-get install pgbouncer)")
    }

    pub(crate) fn start(
        program: &Path,
        directory: &Path,
        server: &Server,
        port: u16,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Self> {
        let account = server.cluster.account;
        account.make_directory(directory)?;
        let (settings, users, log) = (directory.join("ini"), directory.join("users"), directory.join("log"));
        std::fs::write(&users, format!("\"{user}\" \"{}\"\n", verifier(server, user)?))?;
        std::fs::write(&settings, configuration(server, port, certificate, directory))?;
        account.own(&users)?;
        account.own(&settings)?;
        let version = run(account.command(program).arg("--version"))?;
        let version = version.lines().next().unwrap_or_default().to_owned();
        // In a session of its own, as daemons are: the scheduler shares the processor out between sessions.
        let mut command = account.command("setsid");
        command.arg(program).arg("-q").arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut pgbouncer = Self { process: command.spawn()?, version };
        pgbouncer.wait_until_it_listens(port).with_context(|| std::fs::read_to_string(log).unwrap_or_default())?;
        Ok(pgbouncer)
    }

    fn wait_until_it_listens(&mut self, port: u16) -> Result<()> {
        let started = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > DEADLINE || self.process.try_wait()?.is_some() {
                bail!("PgBouncer does not listen");
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(())
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.process.id().cast_signed())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // At once: SIGINT would wait for its clients.
        if let Err(error) = end(&mut self.process, Signal::TERM) {
            eprintln!("PgBouncer could not be ended: {error:#}");
        }
    }
}

/// What the server itself keeps of the password: from the password PgBouncer would derive it at each login.
fn verifier(server: &Server, user: &str) -> Result<String> {
    let cluster = &server.cluster;
    let mut psql = cluster.account.command(cluster.bin.join("psql"));
    psql.args(["-XqAt", "-U", "postgres", "-d", "postgres", "-h"]).arg(&cluster.sockets);
    psql.arg("-p").arg(cluster.port.to_string());
    psql.arg("-c").arg(format!("select rolpassword from pg_authid where rolname = '{}'", user.replace('\'', "''")));
    run(&mut psql)
}

fn configuration(server: &Server, port: u16, certificate: &Certificate, directory: &Path) -> String {
    let (sockets, server_port) = (server.cluster.sockets.display(), server.cluster.port);
    let (certificate, key, directory) = (certificate.file.display(), certificate.key.display(), directory.display());
    format!(
        "[databases]\npostgres = host={sockets} port={server_port}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {directory}/users\n\
         pool_mode = session\ndefault_pool_size = 200\nmax_client_conn = 1000\n\
         client_tls_sslmode = allow\nclient_tls_cert_file = {certificate}\nclient_tls_key_file = {key}\n\
         logfile = {directory}/log\n"
    )
}
