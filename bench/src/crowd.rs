//! Many clients at once, in one thread, so that they cost little beside what they are clients of.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_postgres::{Client, Config, NoTls};

use crate::client::{Door, Target};
use crate::contestants::DEADLINE;

/// What became of a crowd.
pub(crate) struct Outcome {
    /// Until the last of them had its row, all of them still connected.
    pub(crate) taken: Duration,
    /// What those were told who got none.
    pub(crate) failures: Vec<String>,
}

/// Runs these to the end of all, each as far as its first row, and then lets all connections go.
pub(crate) fn first_rows<F>(started: Instant, clients: impl FnOnce() -> Vec<F>) -> Result<Outcome>
where
    F: Future<Output = Result<Connected>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let all = join_all(clients().into_iter().map(|client| tokio::time::timeout(DEADLINE, client))).await;
        let mut outcome = Outcome { taken: started.elapsed(), failures: Vec::new() };
        let mut connections = Vec::new();
        for client in all {
            match client.context("no row in time").and_then(|connected| connected) {
                Ok(Connected { client, connection }) => {
                    drop(client);
                    connections.push(connection);
                }
                Err(error) => outcome.failures.push(format!("{error:#}")),
            }
        }
        join_all(connections).await;
        Ok(outcome)
    })
}

/// A client that had its first row and stays.
pub(crate) struct Connected {
    client: Client,
    connection: JoinHandle<()>,
}

/// Connects, logs in and asks `select 1`. The first try must be served.
pub(crate) async fn first_row(target: &Target) -> Result<Connected> {
    let (client, connection) = config(target)?.connect(NoTls).await?;
    let connection = spawn_local(async move { drop(connection.await) });
    client.simple_query("select 1").await?;
    Ok(Connected { client, connection })
}

fn config(target: &Target) -> Result<Config> {
    let mut config = Config::new();
    config.user(&target.user).dbname(&target.database);
    match &target.door {
        Door::Unix(path) => {
            let name = path.file_name().and_then(|name| name.to_str()).context("a socket")?;
            let port = name.rsplit('.').next().context("a port in a socket's name")?.parse()?;
            config.host_path(path.parent().context("a socket's directory")?).port(port);
        }
        Door::Tcp(port) => {
            config.host("127.0.0.1").port(*port);
        }
    }
    if let Some(password) = &target.password {
        config.password(password);
    }
    Ok(config)
}
