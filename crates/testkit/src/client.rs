//! Clients: PostgreSQL's own programs, and tokio-postgres.

use std::process::Command;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Config, NoTls};

use crate::command::Output;
use crate::home::{TestHome, forget_environment};

impl TestHome {
    /// What `nap url` says, password and all. `target` is `DATABASE@BRANCH`, or a branch.
    #[track_caller]
    pub fn url(&self, target: &str) -> String {
        self.nap(&["url", target]).ok().to_owned()
    }

    /// One of PostgreSQL's programs, with nothing of the caller's environment.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.install().program(name));
        forget_environment(&mut command);
        command.current_dir("/");
        command
    }

    /// `psql` over TCP with the first role's password: bare rows, no psqlrc, ends at the first error.
    #[track_caller]
    pub fn psql(&self, target: &str, sql: &str) -> Output {
        psql(&mut self.program("psql"), &self.url(target), sql)
    }

    /// `psql` with a connection string of the test's own.
    pub fn psql_with(&self, connection: &str, sql: &str) -> Output {
        psql(&mut self.program("psql"), connection, sql)
    }

    /// The same through the Unix sockets (peer authentication): `host=DIRECTORY port=… dbname=…`.
    pub fn socket_connection(&self, database: &str, user: &str) -> String {
        format!("host={} port={} dbname={database} user={user}", self.socket_directory().display(), self.port())
    }

    /// The settings of a connection over TCP, to be changed before it is made.
    #[track_caller]
    pub fn config(&self, target: &str) -> Config {
        self.url(target).parse().expect("a URL")
    }

    /// A session over TCP.
    pub async fn connect(&self, target: &str) -> Client {
        connect(&self.config(target)).await.unwrap_or_else(|error| panic!("connect to {target}: {error:?}"))
    }
}

/// A session by these settings.
pub async fn connect(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let config = config.clone();
    let connecting = async move {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    };
    wires().spawn(connecting).await.expect("connecting does not panic")
}

/// Connections are driven on threads of their own, not on the test's: so a story may wait for a program or a state in
/// the plain, blocking way, and a dropped client still says goodbye.
fn wires() -> &'static Runtime {
    static WIRES: OnceLock<Runtime> = OnceLock::new();
    WIRES.get_or_init(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"))
}

fn psql(program: &mut Command, connection: &str, sql: &str) -> Output {
    Output::of(program.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", connection, "-c", sql]))
}
