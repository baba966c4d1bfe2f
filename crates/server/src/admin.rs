//! The daemon's own look into a running server: roles and databases, what keeps it from sleeping, CHECKPOINT.
//!
//! One connection per server serves all questions, and closes itself a moment after the last one: as long as it is
//! open it stands in the way of DROP DATABASE and CREATE DATABASE … TEMPLATE for the database it is in, and PostgreSQL
//! waits five seconds for such a connection to go away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nap_model::access::{AccessFacts, AccessSnapshot, Database, Membership, Role};
use nap_model::guard::Observation;
use nap_model::ids::{BranchName, Major};
use nap_model::lsn::Lsn;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

mod connect;
mod maintenance;
mod queries;

use connect::WaysIn;

use crate::live::Inherited;

/// How long the connection stays open after its last question.
const KEEP_OPEN: Duration = Duration::from_secs(1);
/// How old it may become: one that busy logins kept open for ever would stand in the way of CREATE DATABASE …
/// TEMPLATE, which gives up after five seconds. The next one waits until that command is over, and is not counted.
const OPEN_AT_MOST: Duration = Duration::from_secs(2);
/// So much WAL may be replayed after a machine went down while its server dozed: milliseconds of it.
const UNCHECKPOINTED_MAX_BYTES: u64 = 1024 * 1024;
/// How long a question may take before the server counts as one that does not answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// PostgreSQL said no, or the connection broke.
    #[error("{}", with_cause(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// No answer in time.
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
    /// An answer that makes no sense.
    #[error("an answer that cannot be read: {0}")]
    Nonsense(String),
}

impl AdminError {
    /// Whether the connection is gone, rather than the question refused. Class 57P is PostgreSQL's word for a backend
    /// or a server that ends.
    pub fn is_broken_connection(&self) -> bool {
        matches!(self, AdminError::Postgres(error)
            if error.code().is_none_or(|code| code.code().starts_with("57P")))
    }

    /// Whether asking again later may help: the connection broke, or a server that shuts down or recovers let nobody in.
    pub fn may_pass(&self) -> bool {
        self.is_broken_connection() || matches!(self, AdminError::Late)
    }
}

fn with_cause(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |db| format!("{}: {}", db.severity(), db.message()))
}

/// What the roles of a running server are, and where its WAL stood before they were read.
#[derive(Debug)]
pub struct Roles {
    /// The insert position before the reading.
    pub before: Lsn,
    /// Read after it; `checkpoint` is not filled in yet.
    pub snapshot: AccessSnapshot,
}

/// Asks one server.
pub struct Admin {
    branch: BranchName,
    major: Major,
    socket_dir: PathBuf,
    open: Mutex<Option<Open>>,
    ways_in: std::sync::Mutex<WaysIn>,
    looked: maintenance::Looked,
}

/// A connection that settles. When a client turns the settling round, its backend must not go on waiting for the
/// checkpoint: under a ping every second they would pile up.
struct Settling {
    client: Client,
    done: bool,
}

impl Drop for Settling {
    fn drop(&mut self) {
        if !self.done {
            let cancel = self.client.cancel_token();
            tokio::spawn(async move { cancel.cancel_query(NoTls).await });
        }
    }
}

struct Open {
    client: Arc<Client>,
    since: Instant,
    last_used: Instant,
}

impl Admin {
    /// For the server with this private socket. Nothing is connected yet.
    pub fn new(branch: BranchName, major: Major, socket_dir: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            branch,
            major,
            socket_dir,
            open: Mutex::new(None),
            ways_in: std::sync::Mutex::default(),
            looked: Default::default(),
        })
    }

    /// What is to be known about a login, read now.
    pub async fn facts(self: &Arc<Self>, role: &str, database: &str) -> Result<AccessFacts, AdminError> {
        let ask = async {
            let client = self.client().await?;
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                [(&role, Type::TEXT), (&database, Type::TEXT)];
            let rows = client.query_typed(queries::FACTS, &parameters).await?;
            let row = rows.first().ok_or_else(|| AdminError::Nonsense("no row of facts".into()))?;
            let role = match row.try_get::<_, Option<String>>(0)? {
                None => None,
                Some(name) => Some(Role {
                    name,
                    can_login: row.try_get(1)?,
                    verifier: row.try_get(2)?,
                    valid_until_us: row.try_get(3)?,
                    connection_limit: row.try_get(4)?,
                    superuser: row.try_get(5)?,
                }),
            };
            let database = match row.try_get::<_, Option<String>>(6)? {
                None => None,
                Some(name) => {
                    Some(Database { name, allows_connections: row.try_get(7)?, connection_limit: row.try_get(8)? })
                }
            };
            Ok(AccessFacts { role, database, member_of: row.try_get(9)? })
        };
        within(ask).await
    }

    /// What keeps the server from sleeping, but for the gateway's sessions.
    pub async fn observe(self: &Arc<Self>) -> Result<Observation, AdminError> {
        let ask = async {
            let client = self.client().await?;
            let rows = client.query_typed(queries::OBSERVE, &[]).await?;
            let row = rows.first().ok_or_else(|| AdminError::Nonsense("no row of observations".into()))?;
            let count = |at: usize| -> Result<u32, AdminError> {
                Ok(u32::try_from(row.try_get::<_, i64>(at)?).unwrap_or(u32::MAX))
            };
            Ok(Observation {
                other_client_backends: count(0)?,
                wal_senders: count(1)?,
                base_backups: count(2)?,
                maintenance: count(3)?,
                subscriptions: count(4)?,
                replication_slots: count(5)?,
            })
        };
        within(ask).await
    }

    /// Brings forward what a shutdown would have to do, and reads all roles and databases last.
    ///
    /// The first reading only makes hint bits settle: on a cluster with checksums they would be logged, and the WAL
    /// after `before` must tell whether anything was changed since (see `owner::settle`).
    pub async fn settle(self: &Arc<Self>) -> Result<Roles, AdminError> {
        // On a connection of its own: who logs in meanwhile must not have to wait for a checkpoint.
        let mut own = Settling { client: within(self.connect()).await?, done: false };
        within(read_roles(&own.client)).await?;
        // A checkpoint may have gigabytes to write; it is bounded by the patience of who asked, not here.
        own.client.batch_execute("CHECKPOINT").await?;
        let roles = within(async {
            own.client.batch_execute(queries::SWITCH_WAL_IF_ARCHIVED).await?;
            read_roles(&own.client).await
        })
        .await?;
        own.done = true;
        self.learn(&roles.snapshot);
        Ok(roles)
    }

    /// Makes the recovery short of a machine that goes down while the server dozes, and reads all roles and databases, which
    /// nobody can change meanwhile. A checkpoint is spared if hardly anything was written since the last one for a doze
    /// (`checkpointed`): PostgreSQL itself writes a record now and then.
    /// Gives back where the WAL stood at that checkpoint as well.
    pub async fn before_doze(self: &Arc<Self>, checkpointed: Option<Lsn>) -> Result<(Roles, Lsn), AdminError> {
        let mut own = Settling { client: within(self.connect()).await?, done: false };
        let mut roles = within(read_roles(&own.client)).await?;
        let written = checkpointed.and_then(|at| roles.before.0.checked_sub(at.0));
        let at = match checkpointed.filter(|_| written.is_some_and(|bytes| bytes <= UNCHECKPOINTED_MAX_BYTES)) {
            Some(at) => at,
            None => {
                own.client.batch_execute("CHECKPOINT").await?;
                roles = within(read_roles(&own.client)).await?;
                roles.before
            }
        };
        own.done = true;
        self.learn(&roles.snapshot);
        Ok((roles, at))
    }

    /// What a copy of the server would have.
    pub async fn inherited(self: &Arc<Self>) -> Result<Inherited, AdminError> {
        let ask = async {
            let client = self.client().await?;
            let counted = client.query_typed(queries::SUBSCRIPTIONS, &[]).await?;
            let row = counted.first().ok_or_else(|| AdminError::Nonsense("no count of subscriptions".into()))?;
            let count = |at: usize| -> Result<u32, AdminError> {
                Ok(u32::try_from(row.try_get::<_, i64>(at)?).unwrap_or(u32::MAX))
            };
            let subscriptions = (count(0)?, count(1)?);
            let named = client.query_typed(queries::PREPARED_TRANSACTIONS, &[]).await?;
            let names = named.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
            Ok(Inherited { subscriptions, prepared_transactions: names })
        };
        within(ask).await
    }

    /// A connection of the caller's own.
    pub(crate) async fn connection(&self) -> Result<Client, AdminError> {
        within(self.connect()).await
    }

    /// The pids of the daemon's own backends: they are to be gone when the server is frozen.
    pub async fn own_backends(self: &Arc<Self>) -> Result<Vec<i32>, AdminError> {
        let ask = async {
            let rows = self.client().await?.query_typed(queries::OWN, &[]).await?;
            Ok(rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
        };
        within(ask).await
    }

    /// Closes the connection now: a server that shuts down must not find it.
    pub async fn close(&self) {
        self.open.lock().await.take();
    }

    async fn client(self: &Arc<Self>) -> Result<Arc<Client>, AdminError> {
        let mut open = self.open.lock().await;
        let now = Instant::now();
        if let Some(open) = open.as_mut().filter(|open| !open.client.is_closed() && now < open.since + OPEN_AT_MOST) {
            open.last_used = now;
            return Ok(open.client.clone());
        }
        open.take();
        let client = Arc::new(self.connect().await?);
        let now = Instant::now();
        *open = Some(Open { client: client.clone(), since: now, last_used: now });
        let (admin, asked) = (self.clone(), client.clone());
        // Behind the question that the connection is for, which need not wait for it.
        tokio::spawn(async move { admin.learn_superusers(&asked).await });
        tokio::spawn(self.clone().close_when_unused());
        Ok(client)
    }

    async fn close_when_unused(self: Arc<Self>) {
        let mut look_at = Instant::now() + KEEP_OPEN;
        loop {
            tokio::time::sleep_until(look_at).await;
            let mut open = self.open.lock().await;
            match open.as_ref() {
                Some(open) if !open.client.is_closed() && open.last_used + KEEP_OPEN > Instant::now() => {
                    look_at = open.last_used + KEEP_OPEN;
                }
                _ => {
                    open.take();
                    return;
                }
            }
        }
    }
}

async fn read_roles(client: &Client) -> Result<Roles, AdminError> {
    let rows = client.query_typed(queries::POSITION, &[]).await?;
    let row = rows.first().ok_or_else(|| AdminError::Nonsense("no position".into()))?;
    let before = row.try_get::<_, String>(0)?.parse().map_err(|_| AdminError::Nonsense("no LSN".into()))?;
    let system_identifier =
        row.try_get::<_, String>(1)?.parse().map_err(|_| AdminError::Nonsense("no identifier".into()))?;
    let mut roles = Vec::new();
    for row in client.query_typed(queries::ROLES, &[]).await? {
        roles.push(Role {
            name: row.try_get(0)?,
            can_login: row.try_get(1)?,
            verifier: row.try_get(2)?,
            valid_until_us: row.try_get(3)?,
            connection_limit: row.try_get(4)?,
            superuser: row.try_get(5)?,
        });
    }
    let mut databases = Vec::new();
    for row in client.query_typed(queries::DATABASES, &[]).await? {
        databases.push(Database {
            name: row.try_get(0)?,
            allows_connections: row.try_get(1)?,
            connection_limit: row.try_get(2)?,
        });
    }
    let mut memberships = Vec::new();
    for row in client.query_typed(queries::MEMBERSHIPS, &[]).await? {
        memberships.push(Membership { member: row.try_get(0)?, of: row.try_get(1)? });
    }
    let mut superusers = Vec::new();
    for row in client.query_typed(queries::SUPERUSERS, &[]).await? {
        superusers.push(row.try_get(0)?);
    }
    let counted = client.query_typed(queries::ENABLED_SUBSCRIPTIONS, &[]).await?;
    let count = counted.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
    let enabled_subscriptions = u32::try_from(count).unwrap_or(u32::MAX);
    let snapshot = AccessSnapshot {
        system_identifier,
        checkpoint: before,
        roles,
        databases,
        superusers,
        enabled_subscriptions,
        memberships: Some(memberships),
    };
    Ok(Roles { before, snapshot })
}

async fn within<T>(ask: impl Future<Output = Result<T, AdminError>>) -> Result<T, AdminError> {
    tokio::time::timeout(ANSWER_WITHIN, ask).await.unwrap_or(Err(AdminError::Late))
}
