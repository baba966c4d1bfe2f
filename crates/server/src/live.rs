//! A running server whose files are to be copied: it stands still for a moment, or is in backup mode for as long as that
//! takes. Whoever drops any of this lets it go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nap_model::ids::Major;
use nap_model::lsn::Lsn;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_postgres::Client;

use crate::admin::{Admin, AdminError};
use crate::freeze::{Frozen, freeze};
use crate::guardian::{Guardian, Ward};

/// So often it is tried to stop a server.
const FREEZE_TRIES: usize = 3;

/// What it takes to copy a running server.
pub struct Live {
    pub(crate) admin: Arc<Admin>,
    pub(crate) guardian: Arc<Guardian>,
    pub(crate) data: PathBuf,
    pub(crate) postmaster: i32,
    pub(crate) major: Major,
    /// As long as one is there the server is not laid down to doze, which would end in a thaw. Locked by the one for whom it
    /// stands still: to let it go on lets it go on for everybody.
    pub(crate) copying: Arc<Mutex<()>>,
}

/// Why a server does not stand still.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotStill(String);

/// A server all of whose processes are stopped, until this is dropped. Nobody thaws it before that, and nobody who was told
/// how long it may take.
pub struct Still {
    // In this order: the guardian hears that it goes on when it does, and the next one's turn comes then.
    frozen: Frozen,
    _ward: Ward,
    _turn: OwnedMutexGuard<()>,
    since: Instant,
}

impl Still {
    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// It goes on; gives back how long it has stood still. An error: somebody else has let it go on before, or killed some of it.
    pub fn go_on(self) -> Result<Duration, NotStill> {
        let (stood, since) = (self.frozen.is_still(), self.since);
        drop(self);
        if stood { Ok(since.elapsed()) } else { Err(NotStill("somebody else let it go on".to_owned())) }
    }
}

/// A server in backup mode, until this is ended or dropped.
pub struct Backup {
    client: Client,
    major: Major,
}

/// What a copy of it would have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherited {
    /// Subscriptions, and those of them that are enabled.
    pub subscriptions: (u32, u32),
    /// Prepared transactions, as COMMIT PREPARED wants them.
    pub prepared_transactions: Vec<String>,
}

impl Live {
    /// What a copy of it would have.
    pub async fn inherited(&self) -> Result<Inherited, AdminError> {
        self.admin.inherited().await
    }

    /// Writes out what is in memory: standing still is then short, and so is the copy's recovery.
    pub async fn checkpoint(&self) -> Result<(), AdminError> {
        // It may have gigabytes to write: no deadline.
        self.admin.connection().await?.batch_execute("CHECKPOINT").await?;
        Ok(())
    }

    /// Stops all its processes. The guardian lets them go on if this process dies.
    pub async fn stand_still(&self) -> Result<Still, NotStill> {
        let turn = self.copying.clone().lock_owned().await;
        let ward = self.guardian.watch_over(&self.data).await.map_err(|error| NotStill(error.to_string()))?;
        nap_fault::reached("the guardian has heard").await;
        let mut failure = None;
        // A process that waits for the disk comes to no stop before that has answered.
        for _ in 0..FREEZE_TRIES {
            let since = Instant::now();
            match freeze(&self.data, self.postmaster).await {
                Ok(frozen) => return Ok(Still { frozen, _ward: ward, _turn: turn, since }),
                Err(error) => failure = Some(error),
            }
        }
        Err(NotStill(failure.map(|error| error.to_string()).unwrap_or_default()))
    }

    /// Brings it into backup mode: its log from here on is kept, and made fit for a copy that is taken meanwhile.
    pub async fn begin_backup(&self) -> Result<Backup, AdminError> {
        let client = self.admin.connection().await?;
        // Goes with this connection, and keeps the log's segments.
        client
            .batch_execute("SELECT pg_create_physical_replication_slot('nap_branch_' || pg_backend_pid(), true, true)")
            .await?;
        let begin = if self.major < Major(15) {
            "SELECT pg_start_backup('nap branch', true, false)"
        } else {
            "SELECT pg_backup_start('nap branch', true)"
        };
        client.batch_execute(begin).await?;
        Ok(Backup { client, major: self.major })
    }
}

impl Backup {
    /// Ends it. The last place of the log that the copy needs, and what is to be its file `backup_label`.
    pub async fn end(self) -> Result<(Lsn, String), AdminError> {
        let end = if self.major < Major(15) {
            "SELECT lsn::text, labelfile FROM pg_stop_backup(false, false)"
        } else {
            "SELECT lsn::text, labelfile FROM pg_backup_stop(false)"
        };
        let rows = self.client.query_typed(end, &[]).await?;
        let row = rows.first().ok_or_else(|| AdminError::Nonsense("no end of a backup".into()))?;
        let stop = row.try_get::<_, String>(0)?.parse().map_err(|_| AdminError::Nonsense("no LSN".into()))?;
        Ok((stop, row.try_get(1)?))
    }
}
