//! A cluster, or a database, that is elsewhere becomes a branch without a parent. What it comes from is only read; nothing shows
//! before it is whole, has recovered, and has been run once.

use std::sync::Arc;

use nap_control::{Failure, FailureKind, ImportSource};
use nap_fault::reached;
use nap_model::access::AccessSnapshot;
use nap_model::hba::Rules;
use nap_model::ids::{BranchId, BranchName, Major};
use nap_model::pg_conf;
use nap_server::admin::Admin;
use nap_server::aside::{Aside, Place};
use nap_server::initdb;
use nap_server::install::Install;
use nap_store::{Arrival, NewBranch, StoreError};

use super::change::store_failure;
use super::create::Held;
use super::socket_dir::SocketDir;
use super::{BranchSet, hba_file};
use crate::daemon::secrets;
use crate::rules;

mod directory;
mod dump;
mod remote;
mod source;

/// A branch that came.
pub(in crate::daemon) struct Imported {
    pub(in crate::daemon) new: NewBranch,
    pub(in crate::daemon) notes: Notes,
}

/// What is to be said of it.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Notes {
    /// Its files lay on this machine, and were copied from there.
    pub(in crate::daemon) was_copied: bool,
    pub(in crate::daemon) recovered: bool,
    pub(in crate::daemon) own_rules: bool,
    pub(in crate::daemon) settings_turned_off: Vec<String>,
    pub(in crate::daemon) md5_roles: Vec<String>,
    pub(in crate::daemon) subscriptions_disabled: Vec<String>,
    pub(in crate::daemon) remarks: Vec<String>,
}

/// What is asked for.
pub(in crate::daemon) struct Wanted {
    pub(in crate::daemon) name: BranchName,
    pub(in crate::daemon) ignore_hba: bool,
    pub(in crate::daemon) pg: Option<Major>,
}

/// It, on its way.
struct Arriving {
    arrival: Held<Arrival>,
    name: BranchName,
    id: BranchId,
    install: Install,
    /// Its rules for connections, if it has some of its own.
    rules: Option<Arc<Rules>>,
    notes: Notes,
    sockets: SocketDir,
}

impl BranchSet {
    /// Makes a branch of what is elsewhere.
    pub(in crate::daemon) async fn import(
        self: &Arc<Self>,
        source: ImportSource,
        wanted: Wanted,
    ) -> Result<Imported, Failure> {
        let _making = self.making.clone();
        if self.entry(&wanted.name).is_some() {
            return Err(store_failure(StoreError::Exists(wanted.name)).hint("choose another name"));
        }
        let arriving = match source {
            ImportSource::Directory { path } => self.import_directory(&path, wanted).await?,
            ImportSource::Debian { version, cluster } => self.import_debian(version, &cluster, wanted).await?,
            ImportSource::Url { url, cluster: true, environment } => {
                self.import_cluster(&url, environment.0, wanted).await?
            }
            ImportSource::Url { url, cluster: false, environment } => {
                self.import_database(&url, environment.0, wanted).await?
            }
        };
        reached("a cluster has come").await;
        let arriving = self.settle_in(arriving).await?;
        reached("a cluster has settled in").await;
        // Who asked may go away now: what is published must be taken on.
        let this = self.clone();
        let shown = tokio::spawn(async move { this.show(arriving).await });
        shown.await.map_err(|error| Failure::failed(error.to_string()))?
    }

    /// An empty place for it.
    async fn arriving(&self, wanted: &Wanted, install: Install) -> Result<Arriving, Failure> {
        let id = secrets::branch_id().map_err(|error| Failure::failed(error.to_string()))?;
        let sockets = SocketDir::new(self.store.home().server_socket_dir(&id));
        let (name, own_id) = (wanted.name.clone(), id.clone());
        let arrival = self.in_store(move |store| store.receive(&name, own_id)).await?;
        let (name, notes) = (wanted.name.clone(), Notes::default());
        Ok(Arriving { arrival: Held::new(arrival), name, id, install, rules: None, notes, sockets })
    }

    /// The installation that its server needs.
    fn install_of(&self, major: Major) -> Result<Install, Failure> {
        self.installs.of(major).map_err(|command| {
            Failure::failed(format!("PostgreSQL {major} is not installed, which this cluster needs"))
                .hint(format!("`nap pg install {major}` fetches it, or: {command}"))
        })
    }

    /// Its rules must be ones that can stand here: a line that were passed over would let somebody in, or keep somebody out.
    fn check_rules(&self, text: &str, from: &std::path::Path, wanted: &Wanted) -> Result<Arc<Rules>, Failure> {
        let (home, beyond) = (self.store.home(), self.config.listens_beyond_loopback());
        let to = home.branch(&wanted.name).pg_hba();
        rules::arriving(home, text, (from, &to), beyond).map_err(|problems| {
            let mut failure = rules::failure("its rules for connections cannot be taken over", &problems);
            failure.kind = FailureKind::Conflict;
            failure.hint("correct the file, or leave it with --ignore-hba: then the rules of the home hold")
        })
    }

    /// Ends its old life, lets it recover, and runs it once: what does not start is told before it shows.
    async fn settle_in(&self, mut arriving: Arriving) -> Result<Arriving, Failure> {
        let control = arriving.arrival.try_with(|arrival| arrival.control()).await?;
        arriving.notes.recovered = !control.clean;
        let (children, install) = (self.children.clone(), arriving.install.clone());
        let looked = arriving.arrival.with(move |arrival| initdb::look_into(&children, &install, &arrival.data()));
        let found = looked.await?.map_err(|error| does_not_start(&error))?;
        arriving.notes.subscriptions_disabled = found.subscriptions;
        reached("a cluster was looked into").await;
        let aside = self.run_aside(&mut arriving).await?;
        let admin = Admin::new(arriving.name.clone(), arriving.install.major, aside.socket_dir().to_owned());
        admin.learn(&AccessSnapshot { superusers: found.superusers, ..nobody(control.system_identifier) });
        let read = admin.settle().await;
        admin.close().await;
        aside.stop().await.map_err(|error| does_not_start(&error))?;
        let access = read.map_err(|error| does_not_start(&error))?.snapshot;
        let is_md5 = |verifier: &String| verifier.starts_with("md5");
        let md5 = access.roles.iter().filter(|role| role.verifier.as_ref().is_some_and(is_md5));
        arriving.notes.md5_roles = md5.map(|role| role.name.clone()).collect();
        arriving.arrival.try_with(move |arrival| arrival.keep_roles(access)).await?;
        Ok(arriving)
    }

    /// A server on it that nobody else can come to.
    async fn run_aside(&self, arriving: &mut Arriving) -> Result<Aside, Failure> {
        let home = self.store.home();
        nap_store::create::make_server_socket_dir(home, &arriving.id).map_err(store_failure)?;
        let place = Place {
            data: arriving.arrival.with(|arrival| arrival.data()).await?,
            socket_dir: home.server_socket_dir(&arriving.id),
            hba_file: Some(hba_file(home)),
        };
        let started = Aside::start(&self.children, &arriving.install, place, &[]).await;
        started.map_err(|error| does_not_start(&error))
    }

    async fn show(&self, arriving: Arriving) -> Result<Imported, Failure> {
        let Arriving { arrival, name, install, rules, mut notes, sockets, .. } = arriving;
        notes.own_rules = rules.is_some();
        let arrival = arrival.take()?;
        let new = self.in_store(move |store| store.publish_arrival(arrival, install.major)).await?;
        sockets.keep();
        reached("a cluster shows").await;
        self.change_rules(|book| book.take_up(&name, rules)).await;
        self.take_on(new.branch.clone()).map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))?;
        tracing::info!(branch = %name, major = %install.major, "was imported");
        Ok(Imported { new, notes })
    }
}

impl Arriving {
    /// Puts a configuration into it that leads nowhere else.
    async fn configure(&mut self, conf: pg_conf::Adopted) -> Result<(), Failure> {
        let adopted = self.arrival.try_with(move |arrival| {
            arrival.write("postgresql.conf", &conf.text)?;
            let mut off: Vec<String> = conf.turned_off.into_iter().map(|(name, _)| name).collect();
            // What ALTER SYSTEM has set includes nothing.
            let auto = arrival.text_of("postgresql.auto.conf").unwrap_or_default();
            let auto = pg_conf::adopt_text(&auto);
            arrival.write("postgresql.auto.conf", &auto.text)?;
            off.extend(auto.turned_off.into_iter().map(|(name, _)| name));
            if arrival.text_of("pg_ident.conf").is_none() {
                arrival.write("pg_ident.conf", "")?;
            }
            off.sort();
            off.dedup();
            Ok(off)
        });
        self.notes.settings_turned_off = adopted.await?;
        Ok(())
    }

    /// Its own rules for connections.
    async fn take_rules(&mut self, text: String, rules: Arc<Rules>) -> Result<(), Failure> {
        self.arrival.try_with(move |arrival| arrival.set_rules(&text)).await?;
        self.rules = Some(rules);
        Ok(())
    }

    fn remark(&mut self, remark: impl Into<String>) {
        self.notes.remarks.push(remark.into());
    }
}

fn nobody(system_identifier: u64) -> AccessSnapshot {
    AccessSnapshot {
        system_identifier,
        checkpoint: nap_model::lsn::Lsn(0),
        roles: Vec::new(),
        databases: Vec::new(),
        superusers: Vec::new(),
        enabled_subscriptions: 0,
        memberships: None,
    }
}

fn does_not_start(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::failed("a server on the copy does not start").caused_by(error)
}
