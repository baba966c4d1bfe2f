//! What the daemon tells of itself.

use std::time::Duration;

use jiff::Timestamp;
use nap_control::{
    Answer, BranchReport, ConnectionReport, Counts, Failure, HistoryReport, InodesReport, PostgresReport, Reply,
    SESSIONS_SHOWN_MAX, SessionReport, SnapshotReport, StatusReport,
};
use nap_model::access::AccessSnapshot;
use nap_model::ids::BranchName;
use nap_model::state::State;
use nap_server::initdb::BOOTSTRAP_SUPERUSER;
use nap_store::FREE_AT_LEAST_PERCENT;
use nap_wire::scram::Verifier;

use super::ControlApi;
use crate::daemon::branch_set::Entry;
use crate::daemon::secrets;

/// How long the check of a password may take.
const CHECK_WITHIN: Duration = Duration::from_secs(2);

impl ControlApi {
    pub(super) async fn branch_report(&self, entry: Entry) -> BranchReport {
        let last_used = self.last_used(&entry);
        let guards = entry.server.guards().await;
        let mut status = entry.server.status();
        if matches!(status.state, State::Awake | State::Dozing | State::Settling) {
            status.guards = guards;
        }
        status.sessions = u32::try_from(self.gateway.count(&entry.record.name)).unwrap_or(u32::MAX);
        let settings = self.config.get();
        BranchReport {
            id: entry.record.id,
            major: entry.record.major,
            parent: entry.record.parent,
            branched_at: entry.record.branched_at,
            created: entry.record.created.to_string(),
            expires: entry.record.expires.map(|at| at.to_string()),
            shows: entry.record.shows,
            protected: entry.record.protected,
            default: entry.record.name == settings.default_branch,
            status,
            sleep_after: entry.record.settings.sleep_after.unwrap_or(settings.sleep_after),
            door: self.branches.doors().and_then(|doors| doors.door_dir(&entry.record.name)),
            last_used: last_used.map(|at| at.to_string()),
            disk: None,
            port: entry.record.settings.port.map(std::num::NonZero::get),
            name: entry.record.name,
        }
    }

    /// Of one that sleeps, its server's last write tells.
    fn last_used(&self, entry: &Entry) -> Option<Timestamp> {
        let now = Timestamp::now();
        if entry.server.status().state.has_processes() {
            let idle = entry.server.idle_for().unwrap_or_default();
            return now.checked_sub(idle).ok();
        }
        let written = std::fs::metadata(entry.dir.data().join("global/pg_control")).and_then(|file| file.modified());
        let written = Timestamp::try_from(written.ok()?).ok()?;
        // Its own making is no use.
        (written > entry.record.created).then_some(written)
    }

    pub(super) async fn history(&self, branch: Option<BranchName>) -> Reply {
        let entry = self.named(branch)?;
        let branch = entry.record.name;
        let span = entry.record.settings.history.unwrap_or(self.config.get().history);
        let (history, is_kept) = self.branches.history(&branch).await?;
        let inodes = history.inodes.map(|inodes| InodesReport {
            free: inodes.free,
            total: inodes.total,
            history_leaves_percent: FREE_AT_LEAST_PERCENT,
        });
        let snapshots = history.snapshots.into_iter();
        let snapshots = snapshots.map(|at| SnapshotReport {
            name: at.name,
            lsn: at.lsn,
            taken: at.taken.to_string(),
            files: at.files,
        });
        let snapshots = snapshots.collect();
        let segments = u64::try_from(history.segments).unwrap_or(u64::MAX);
        Ok(Answer::History(HistoryReport { branch, span, is_kept, snapshots, end: history.end, segments, inodes }))
    }

    pub(super) fn status(&self) -> StatusReport {
        let settings = self.config.get();
        let statuses: Vec<_> = self.branches.all().iter().map(|entry| entry.server.status()).collect();
        let sessions = self.gateway.sessions();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            home: self.config.home().root().to_owned(),
            port: settings.port,
            listen_addresses: settings.listen_addresses,
            socket_directories: self.branches.doors().map(|doors| doors.shared_dirs()).unwrap_or_default(),
            libpq_socket_missing: self.libpq_socket_missing.clone(),
            max_connections_lowered: self.max_connections_lowered.borrow().clone(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            postgres: self
                .installs
                .all()
                .into_iter()
                .rev()
                .map(|install| PostgresReport { major: install.major, bin: install.bin, version: install.version })
                .collect(),
            counts: Counts {
                branches: count(statuses.len()),
                awake: count(statuses.iter().filter(|status| status.state.has_processes()).count()),
                failed: count(statuses.iter().filter(|status| status.state == State::Failed).count()),
                sessions: count(sessions.len()),
                waiting: statuses.iter().map(|status| status.waiting).sum(),
            },
            sessions: sessions.into_iter().take(SESSIONS_SHOWN_MAX).map(session_report).collect(),
        }
    }

    /// How to connect. The password is told only if it still opens the door, which takes some milliseconds to find out.
    pub(super) async fn connection(
        &self,
        branch: Option<BranchName>,
        database: Option<String>,
        with_password: bool,
    ) -> Result<ConnectionReport, Failure> {
        let entry = self.named(branch)?;
        let settings = self.config.get();
        let (role, own_database) = usual_login(settings.role, nap_store::roles::load_access(&entry.dir));
        let database = database.unwrap_or(own_database);
        let password = if with_password { self.working_password(&entry, &role).await } else { None };
        let doors = self.branches.doors();
        let default_socket_directory = doors.and_then(|doors| doors.shared_dirs().into_iter().nth(1));
        Ok(ConnectionReport {
            default: entry.record.name == settings.default_branch,
            host: "localhost".to_owned(),
            port: settings.port,
            role,
            database,
            password,
            door: doors.and_then(|doors| doors.door_dir(&entry.record.name)),
            default_socket_directory,
            ssl: settings.ssl,
            root_certificate: settings.ssl_cert_file.is_none().then(|| self.config.home().root_certificate()),
            branch: entry.record.name,
        })
    }

    async fn working_password(&self, entry: &Entry, role: &str) -> Option<String> {
        let password = secrets::kept_password(self.config.home(), role)?;
        // A server that recovers or hangs must not make `nap up` and `nap url` hang as well: then it is told unchecked.
        let asked = tokio::time::timeout(CHECK_WITHIN, entry.server.access(role, role)).await;
        let Ok(facts) = asked else { return Some(password) };
        let facts = facts.ok()?;
        let verifier = Verifier::parse(&facts.role?.verifier?)?;
        let checked = tokio::task::spawn_blocking(move || verifier.matches(&password).then_some(password));
        checked.await.ok()?
    }
}

/// As whom, and to which database, when nobody says otherwise: the home's first role and its own database, where the branch
/// has them. One that came from elsewhere may have neither.
fn usual_login(role: Option<String>, known: Option<AccessSnapshot>) -> (String, String) {
    let role = role.unwrap_or_else(|| BOOTSTRAP_SUPERUSER.to_owned());
    let Some(known) = known else { return (role.clone(), role) };
    let open = known.databases.iter().filter(|database| database.allows_connections);
    let names: Vec<&str> = open.map(|database| database.name.as_str()).collect();
    let or_postgres = |role: &str| match names.contains(&role) || !names.contains(&BOOTSTRAP_SUPERUSER) {
        true => role.to_owned(),
        false => BOOTSTRAP_SUPERUSER.to_owned(),
    };
    match known.superusers.first() {
        Some(superuser) if !known.roles.iter().any(|there| there.name == role) => {
            let is_initdbs = |name: &&str| ["postgres", "template0", "template1"].contains(name);
            let others: Vec<&str> = names.iter().copied().filter(|name| !is_initdbs(name)).collect();
            let only = if let [only] = others.as_slice() { Some((*only).to_owned()) } else { None };
            (superuser.clone(), only.unwrap_or_else(|| or_postgres(superuser)))
        }
        _ => (role.clone(), or_postgres(&role)),
    }
}

pub(super) fn session_report(session: nap_gateway::SessionInfo) -> SessionReport {
    SessionReport {
        id: session.id,
        branch: session.branch,
        database: Some(session.database).filter(|database| !database.is_empty()),
        role: session.role,
        client: session.client,
        state: session.state.to_string(),
        idle_ms: u64::try_from(session.idle.as_millis()).unwrap_or(u64::MAX),
        pin: session.pin,
    }
}
