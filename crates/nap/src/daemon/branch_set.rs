//! The branches as the daemon has them: each with its record on disk and its server. This is where store, servers and
//! gateway meet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use anyhow::Context as _;
use nap_control::Failure;
use nap_gateway::{Awake, BranchFacts, Branches, Gateway, Opened, Order, Refusal};
use nap_model::access::AccessFacts;
use nap_model::hba::{Problems, Rules};
use nap_model::ids::BranchName;
use nap_model::settings::{Flash, Settings};
use nap_model::span::Span;
use nap_model::state::State;
use nap_server::children::Children;
use nap_server::fleet::Fleet;
use nap_server::handle::ServerHandle;
use nap_server::spec::{DozePolicy, Places, Policy, ServerSpec, SleepPolicy};
use nap_store::{Branch, BranchDir, BranchRecord, Home, Store, durable};
use tokio::sync::watch;
use tokio::time::Instant;

use super::config::Config;
use super::doors::Doors;
use super::historian::Historian;
use super::installs::Installs;
use super::keeper::BranchKeeper;
use super::sessions::{BranchSessions, LateGateway};
use super::showing::{self, Showing};
use crate::rules::{self, RuleBook};

pub(super) mod change;
pub(super) mod create;
pub(super) mod export;
pub(super) mod import;
mod past;
mod remove;
mod reset;
mod socket_dir;

/// Everything may come in: only the daemon and root can reach the sockets it is about, and clients have been
/// authenticated by the gateway.
const SERVER_HBA: &str = "local all all trust\nlocal replication all trust\n";

/// One branch.
#[derive(Clone)]
pub(crate) struct Entry {
    /// Its record, as of the last change.
    pub(crate) record: BranchRecord,
    /// Its directory.
    pub(crate) dir: BranchDir,
    /// Its server.
    pub(crate) server: ServerHandle,
    policy: watch::Sender<Policy>,
    history: watch::Sender<(Span, u32)>,
}

impl Entry {
    /// Its settings hold from now on, and those of the home where it has none.
    fn follow(&self, settings: &Settings, record: &BranchRecord) {
        self.policy.send_replace(policy(settings, record));
        self.history.send_replace(history(settings, record));
    }

    /// Whether it goes to sleep only when somebody tells it to.
    pub(super) fn sleeps_when_told(&self) -> bool {
        self.policy.borrow().sleep == SleepPolicy::WhenTold
    }
}

/// All branches.
pub(crate) struct BranchSet {
    store: Arc<Store>,
    config: Config,
    installs: Arc<Installs>,
    children: Children,
    fleet: Arc<Fleet>,
    entries: RwLock<BTreeMap<BranchName, Entry>>,
    doors: OnceLock<Doors>,
    showing: OnceLock<Showing>,
    gateway: LateGateway,
    count: watch::Sender<usize>,
    rules: RwLock<RuleBook>,
    /// Of two reloads the one that read last must be in force.
    reloading: tokio::sync::Mutex<()>,
    /// Others have it while they make a branch.
    making: Arc<()>,
    /// Somebody who may has asked for a reload of everything.
    pub(super) reload_asked: tokio::sync::Notify,
}

impl BranchSet {
    /// Takes on every branch there is. Servers that an earlier daemon left are adopted.
    pub(super) async fn open(
        store: Arc<Store>,
        config: Config,
        installs: Arc<Installs>,
        children: Children,
        rules: RuleBook,
    ) -> anyhow::Result<Arc<Self>> {
        let hba = hba_file(store.home());
        durable::write_atomic(&hba, SERVER_HBA.as_bytes(), 0o600)
            .with_context(|| format!("cannot write {}", hba.display()))?;
        let find = Box::new({
            let installs = installs.clone();
            move |major| installs.of(major)
        });
        let guardian = Box::new({
            let home = store.home().clone();
            move || crate::commands::guardian::command(&home)
        });
        let fleet = Fleet::start(children.clone(), config.get().max_awake, find, guardian);
        let branches = store.branches()?;
        for broken in &branches.broken {
            tracing::error!(branch = broken.name, error = %broken.error, "this branch cannot be used");
        }
        let (entries, doors, rules) = (RwLock::default(), OnceLock::new(), RwLock::new(rules));
        let (count, reloading) = (watch::Sender::new(0), tokio::sync::Mutex::default());
        let gateway = LateGateway::default();
        let reload_asked = tokio::sync::Notify::new();
        let set = Arc::new(Self {
            store,
            config,
            installs,
            children,
            fleet,
            entries,
            doors,
            showing: OnceLock::new(),
            gateway,
            count,
            rules,
            reloading,
            making: Arc::default(),
            reload_asked,
        });
        for branch in branches.whole {
            set.take_on(branch)?;
        }
        tokio::spawn(follow_settings(set.clone()));
        let store = set.store.clone();
        tokio::task::spawn_blocking(move || store.empty_trash().map_err(|error| tracing::warn!(%error, "trash")));
        Ok(set)
    }

    /// The servers.
    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Called once, before the gateway serves.
    pub(super) fn set_showing(&self, showing: Showing) {
        let _ = self.showing.set(showing);
    }

    /// Called once, when the gateway serves.
    pub(super) fn set_doors(&self, doors: Doors) {
        let _ = self.doors.set(doors);
    }

    /// Called once, before the gateway serves: sessions can be parked from now on.
    pub(super) fn set_gateway(&self, gateway: &Arc<Gateway<Self>>) {
        let _ = self.gateway.set(Arc::downgrade(gateway));
    }

    /// The gateway.
    pub(super) fn gateway(&self) -> Option<Arc<Gateway<Self>>> {
        self.gateway.get()?.upgrade()
    }

    /// The open doors.
    pub(super) fn doors(&self) -> Option<&Doors> {
        self.doors.get()
    }

    /// Whether a branch is just being made, from scratch or anew.
    pub(super) fn is_making(&self) -> bool {
        Arc::strong_count(&self.making) > 1
    }

    /// One branch.
    pub(super) fn entry(&self, name: &BranchName) -> Option<Entry> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All branches, by name.
    pub(super) fn all(&self) -> Vec<Entry> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One comes or goes.
    fn change_entries<T>(&self, change: impl FnOnce(&mut BTreeMap<BranchName, Entry>) -> T) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut entries);
        self.count.send_replace(entries.len());
    }

    /// Where they lie.
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// How many there are.
    pub(super) fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// All names.
    pub(super) fn names_now(&self) -> Vec<BranchName> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Reads the rules for connections again. On an error the old ones hold.
    pub(super) async fn reload_rules(self: &Arc<Self>) -> Result<(), Failure> {
        let this = self.clone();
        let reloaded = tokio::task::spawn_blocking(move || this.reload_rules_now()).await;
        reloaded
            .map_err(|error| Failure::failed(error.to_string()))?
            .map_err(|problems| rules::failure("the rules for connections are wrong; those before hold", &problems))
    }

    fn reload_rules_now(&self) -> Result<(), Problems> {
        let _one = self.reloading.blocking_lock();
        let rules = RuleBook::load(self.store.home(), self.config.listens_beyond_loopback())
            .inspect_err(|problems| tracing::error!(%problems, "rules not reloaded: the old ones hold"))?;
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        Ok(())
    }

    /// Changes the rules in force. A reload that began to read before would lose the change, so it is waited for.
    async fn change_rules(&self, change: impl FnOnce(&mut RuleBook)) {
        let _no_reload = self.reloading.lock().await;
        change(&mut self.rules.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The logs that servers have open.
    pub(super) fn logs_of_running_servers(&self) -> Vec<PathBuf> {
        let running = self.all().into_iter().filter(|entry| entry.server.status().state.has_processes());
        running.flat_map(|entry| [entry.dir.server_log(), entry.dir.wake_sql_log()]).collect()
    }

    /// Begins to serve a branch that is on disk.
    fn take_on(&self, branch: Branch) -> anyhow::Result<()> {
        let Branch { record, dir } = branch;
        let home = self.store.home();
        nap_store::create::make_server_socket_dir(home, &record.id)?;
        // Made before there was such a place. It is missed by who makes a tablespace.
        nap_store::tablespaces::make_place(&dir).unwrap_or_else(|error| {
            tracing::warn!(branch = %record.name, %error, "it has no place for tablespaces");
        });
        let settings = self.config.get();
        let (policy, watched) = watch::channel(policy(&settings, &record));
        let (history, kept) = watch::channel(history(&settings, &record));
        let historian = Historian {
            store: self.store.clone(),
            branch: record.name.clone(),
            history: kept,
            log_is_kept: Arc::default(),
        };
        historian.look();
        let server = self.fleet.add(ServerSpec {
            branch: record.name.clone(),
            major: record.major,
            places: Places {
                data: dir.data(),
                log: dir.server_log(),
                socket_dir: home.server_socket_dir(&record.id),
                hba_file: hba_file(home),
                log_is_kept: historian.log_is_kept.clone(),
            },
            keeper: Arc::new(BranchKeeper {
                store: self.store.clone(),
                branch: record.name.clone(),
                dir: dir.clone(),
                log_is_kept: historian.log_is_kept.clone(),
            }),
            sessions: Arc::new(BranchSessions { branch: record.name.clone(), gateway: self.gateway.clone() }),
            policy: watched,
        });
        let name = record.name.clone();
        let doors_of = record.clone();
        tokio::spawn(historian.follow(server.clone()));
        let entry = Entry { record, dir, server, policy, history };
        self.change_entries(|entries| entries.insert(name, entry));
        if let Some(doors) = self.doors() {
            doors.open(&doors_of);
        }
        Ok(())
    }
}

fn hba_file(home: &Home) -> PathBuf {
    home.run_dir().join("server_hba.conf")
}

/// How far back its past is kept, and how much of its log in GB.
fn history(settings: &Settings, record: &BranchRecord) -> (Span, u32) {
    let own = &record.settings;
    if record.shows.is_some() {
        return (Span::seconds(0), 0);
    }
    (own.history.unwrap_or(settings.history), own.history_max_gb.unwrap_or(settings.history_max_gb))
}

fn policy(settings: &Settings, record: &BranchRecord) -> Policy {
    Policy {
        sleep: match record.settings.flash.unwrap_or(settings.flash) {
            Flash::Manual => SleepPolicy::WhenTold,
            Flash::Auto => {
                let span = record.settings.sleep_after.unwrap_or(settings.sleep_after).0;
                span.map_or(SleepPolicy::Never, SleepPolicy::After)
            }
        },
        doze: match record.settings.doze_after.or(settings.doze_after) {
            None => DozePolicy::WhenPinned,
            Some(Span(Some(span))) => DozePolicy::After(span),
            Some(Span(None)) => DozePolicy::Never,
        },
        park: record.settings.park.unwrap_or(settings.park).0,
        replication_guard: record.settings.replication_guard.unwrap_or(settings.replication_guard).0,
        maintenance_budget: record
            .settings
            .maintenance_budget
            .unwrap_or(settings.maintenance_budget)
            .0
            .unwrap_or_default(),
        shutdown_timeout: settings.shutdown_timeout.0.unwrap_or_default(),
    }
}

/// Brings changed settings to every server.
async fn follow_settings(set: Arc<BranchSet>) {
    let mut settings = set.config.derived(Clone::clone);
    while settings.changed().await.is_ok() {
        let now = settings.borrow_and_update().clone();
        set.fleet.resize(now.max_awake);
        for entry in set.all() {
            entry.follow(&now, &entry.record);
        }
    }
}

impl Branches for BranchSet {
    fn default_branch(&self) -> BranchName {
        self.config.get().default_branch
    }

    fn find(&self, name: &BranchName) -> Option<BranchFacts> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        // A moment that somebody looks at is reached by who names the branch and the moment, by that branch's rules.
        let entry = entries.get(name).filter(|entry| entry.record.shows.is_none())?;
        Some(BranchFacts { major: entry.record.major })
    }

    fn names(&self) -> Vec<BranchName> {
        let all = self.all().into_iter().filter(|entry| entry.record.shows.is_none());
        all.map(|entry| entry.record.name).collect()
    }

    fn rules(&self, branch: &BranchName) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).of(branch)
    }

    async fn access(&self, branch: &BranchName, role: &str, database: &str) -> Result<AccessFacts, Refusal> {
        let server = self.server(branch)?;
        server.access(role, database).await.map_err(|error| Box::new(error) as Refusal)
    }

    fn answers_pings(&self, branch: &BranchName) -> bool {
        let Some(entry) = self.entry(branch) else { return false };
        let could_wake = entry.server.status().state != State::Failed;
        could_wake && entry.record.settings.answer_pings.unwrap_or(self.config.get().answer_pings).0
    }

    fn keep_awake(&self, branch: &BranchName, on: bool) {
        if let Some(entry) = self.entry(branch).filter(Entry::sleeps_when_told) {
            entry.server.keep_awake(on);
        }
    }

    fn control_role(&self, branch: &BranchName) -> Option<String> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let own = entries.get(branch)?.record.settings.control_role.clone();
        own.or_else(|| self.config.get().control_role)
    }

    fn control(&self, branch: &BranchName, order: Order) {
        match order {
            Order::ReloadConfig => self.reload_asked.notify_one(),
            Order::Sleep => {
                let Some(entry) = self.entry(branch) else { return };
                tokio::spawn(async move {
                    if let Err(error) = entry.server.sleep().await {
                        tracing::warn!(branch = %entry.record.name, %error, "control_role: it does not sleep");
                    }
                });
            }
        }
    }

    async fn open_past(&self, branch: &BranchName, at: &str, role: &str) -> Result<Opened, Refusal> {
        match self.showing.get() {
            Some(showing) => {
                let opened = showing.open(branch, at).await?;
                let (then, now) = (self.access(&opened.branch, role, ""), self.access(branch, role, ""));
                showing::refuse_mightier(role, &then.await?, &now.await?)?;
                Ok(opened)
            }
            None => Err(Box::new(nap_server::error::WakeError::Removed { branch: branch.clone() })),
        }
    }

    async fn wake(&self, branch: &BranchName, deadline: Instant) -> Result<Awake, Refusal> {
        let server = self.server(branch)?;
        let lease = server.awake(deadline).await.map_err(|error| Box::new(error) as Refusal)?;
        Ok(Awake { socket: lease.socket().clone(), superuser: lease.superuser().to_owned(), hold: Box::new(lease) })
    }
}

impl BranchSet {
    /// The server of a branch that was there a moment ago.
    fn server(&self, branch: &BranchName) -> Result<ServerHandle, Refusal> {
        let entry = self
            .entry(branch)
            .ok_or_else(|| Box::new(nap_server::error::WakeError::Removed { branch: branch.clone() }) as Refusal)?;
        Ok(entry.server)
    }
}
