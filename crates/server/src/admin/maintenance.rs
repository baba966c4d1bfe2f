//! What autovacuum would have done, brought forward before a sleep: it looks once a minute, and a server that is awake for
//! seconds at a time would otherwise never be vacuumed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use super::{Admin, AdminError, queries, within};

/// How much later than it should a statement may end.
const GRACE: Duration = Duration::from_secs(1);
/// Less than this is no time for anything.
const LEAST: Duration = Duration::from_millis(10);

/// `statement_timeout` is an integer.
const LIMIT_MAX_MS: u128 = i32::MAX as u128;

/// What earlier looks found.
#[derive(Default)]
pub(super) struct Looked {
    /// How much had been written to each database.
    written: Mutex<HashMap<String, i64>>,
    /// Tables that took longer than there was time for, by database: the others come first.
    late: Mutex<HashSet<(String, String)>>,
}

impl Looked {
    fn is_news(&self, database: &str, written: i64) -> bool {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).get(database) != Some(&written)
    }

    fn note(&self, database: &str, written: i64) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(database.to_owned(), written);
    }

    fn is_late(&self, database: &str, table: &str) -> bool {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.contains(&(database.to_owned(), table.to_owned()))
    }

    fn note_late(&self, database: &str, table: &str) {
        self.late.lock().unwrap_or_else(PoisonError::into_inner).insert((database.to_owned(), table.to_owned()));
    }
}

/// A connection that maintains. Its backend is ended if this is dropped before it is done, and not only cancelled: a function
/// of an index, which VACUUM calls, can go on after a cancel.
struct Maintaining {
    client: Client,
    pid: i32,
    done: bool,
}

impl Maintaining {
    async fn begin(client: Client) -> Result<Self, AdminError> {
        let rows = client.query_typed("SELECT pg_catalog.pg_backend_pid()", &[]).await?;
        let row = rows.first().ok_or_else(|| AdminError::Nonsense("no pid".into()))?;
        Ok(Self { pid: row.try_get(0)?, client, done: false })
    }
}

impl Drop for Maintaining {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| !self.done && !self.client.is_closed()) {
            // What pg_terminate_backend does; servers are run by the same user.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// A table that autovacuum would take up.
struct Due {
    /// Quoted, with its schema.
    table: String,
    vacuum: bool,
    analyze: bool,
    /// It is old: what is not frozen now is to be done later by force.
    freeze: bool,
}

impl Due {
    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self { table: row.try_get(0)?, vacuum: row.try_get(1)?, analyze: row.try_get(2)?, freeze: row.try_get(3)? })
    }

    /// What is to be run. Nobody is waited for: a prepared transaction may hold its lock for ever.
    fn command(&self) -> String {
        if !self.vacuum {
            return format!("ANALYZE (SKIP_LOCKED) {}", self.table);
        }
        let (freeze, analyze) = (self.freeze, self.analyze);
        format!("VACUUM (SKIP_LOCKED, FREEZE {freeze}, ANALYZE {analyze}) {}", self.table)
    }
}

impl Admin {
    /// Vacuums and analyzes the tables that are due, for so long. Gives back how many were. May be dropped at any time:
    /// what runs is cancelled then.
    pub async fn maintain(self: &Arc<Self>, budget: Duration) -> Result<u32, AdminError> {
        let until = Instant::now() + budget;
        let rows = within(async { Ok(self.client().await?.query_typed(queries::WRITTEN, &[]).await?) }).await?;
        let read = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
        let databases = rows.iter().map(read).collect::<Result<Vec<(String, i64)>, AdminError>>()?;
        let mut count = 0;
        for (database, written) in databases {
            if !self.looked.is_news(&database, written) {
                continue;
            }
            // One that is being dropped, or lets nobody in.
            let Ok(client) = within(self.connect_to(&database)).await else { continue };
            let Ok(mut own) = within(Maintaining::begin(client)).await else { continue };
            let all = self.maintain_tables(&own.client, &database, until);
            let Ok(all) = timeout_at(until + GRACE, all).await else {
                tracing::warn!(branch = %self.branch, database, "maintenance does not end when it is told to: its backend is ended");
                continue;
            };
            match all {
                Ok(done) => {
                    count += done;
                    self.looked.note(&database, written);
                }
                Err(NotAll::Late(done)) => count += done,
                // One database must not keep the others from it.
                Err(NotAll::Failed(error)) => tracing::warn!(branch = %self.branch, database, %error, "not maintained"),
            }
            own.done = true;
        }
        Ok(count)
    }
}

/// Why not all tables of a database were taken up.
enum NotAll {
    /// There was no time for the rest; so many were.
    Late(u32),
    Failed(AdminError),
}

impl<E: Into<AdminError>> From<E> for NotAll {
    fn from(error: E) -> Self {
        NotAll::Failed(error.into())
    }
}

impl Admin {
    /// How many tables were taken up.
    async fn maintain_tables(&self, client: &Client, database: &str, until: Instant) -> Result<u32, NotAll> {
        let rows = within(async { Ok(client.query_typed(queries::DUE, &[]).await?) }).await?;
        let mut due = rows.iter().map(Due::read).collect::<Result<Vec<_>, tokio_postgres::Error>>()?;
        due.sort_by_key(|due| self.looked.is_late(database, &due.table));
        let mut count = 0;
        for due in due {
            let left = until.saturating_duration_since(Instant::now());
            if left < LEAST {
                return Err(NotAll::Late(count));
            }
            client.batch_execute(&format!("SET statement_timeout = {}", left.as_millis().min(LIMIT_MAX_MS))).await?;
            match client.batch_execute(&due.command()).await {
                Ok(()) => count += 1,
                Err(error) if error.is_closed() => return Err(error.into()),
                Err(error) => {
                    if error.code() == Some(&SqlState::QUERY_CANCELED) {
                        self.looked.note_late(database, &due.table);
                    }
                    tracing::debug!(%error, table = due.table, "not maintained");
                }
            }
        }
        Ok(count)
    }
}
