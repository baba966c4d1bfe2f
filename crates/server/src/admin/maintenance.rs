//! What autovacuum would have done, brought forward before a sleep: it looks once a minute, and a server that is awake for
//! seconds at a time would otherwise never be vacuumed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Client;

use super::{Admin, AdminError, Settling, queries, within};

/// Less than this is no time for anything.
const LEAST: Duration = Duration::from_millis(10);

/// How much had been written to each database when it was last looked into.
#[derive(Default)]
pub(super) struct Looked(Mutex<HashMap<String, i64>>);

impl Looked {
    fn is_news(&self, database: &str, written: i64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(database) != Some(&written)
    }

    fn note(&self, database: &str, written: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(database.to_owned(), written);
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
    pub async fn maintain(&self, budget: Duration) -> Result<u32, AdminError> {
        let until = Instant::now() + budget;
        let databases = {
            let mut own = Settling { client: within(self.connect()).await?, done: false };
            let rows = within(async { Ok(own.client.query_typed(queries::WRITTEN, &[]).await?) }).await?;
            own.done = true;
            let read = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
            rows.iter().map(read).collect::<Result<Vec<(String, i64)>, AdminError>>()?
        };
        let mut count = 0;
        for (database, written) in databases {
            if !self.looked.is_news(&database, written) {
                continue;
            }
            // One that is being dropped, or lets nobody in.
            let Ok(client) = within(self.connect_to(&database)).await else { continue };
            let mut own = Settling { client, done: false };
            let (done, all) = maintain_tables(&own.client, until).await?;
            count += done;
            own.done = true;
            if !all {
                break;
            }
            self.looked.note(&database, written);
        }
        Ok(count)
    }
}

/// How many tables were taken up, and whether none is left.
async fn maintain_tables(client: &Client, until: Instant) -> Result<(u32, bool), AdminError> {
    let rows = within(async { Ok(client.query_typed(queries::DUE, &[]).await?) }).await?;
    let mut count = 0;
    for row in rows {
        let due =
            Due { table: row.try_get(0)?, vacuum: row.try_get(1)?, analyze: row.try_get(2)?, freeze: row.try_get(3)? };
        let left = until.saturating_duration_since(Instant::now());
        if left < LEAST {
            return Ok((count, false));
        }
        let limit = format!("SET statement_timeout = {}", left.as_millis());
        client.batch_execute(&limit).await?;
        match client.batch_execute(&due.command()).await {
            Ok(()) => count += 1,
            Err(error) if error.is_closed() => return Err(error.into()),
            // It took too long, or the table has gone: autovacuum would try again as well.
            Err(error) => tracing::debug!(%error, table = due.table, "not maintained"),
        }
    }
    Ok((count, true))
}
