//! Something of a branch goes to a place outside the home: all of it as a data directory that any PostgreSQL of its major starts
//! on, or a database as a dump. Whole or not there; what is there already stays.

use std::path::{Path, PathBuf};

use nap_control::{ExportFormat, Failure, FailureKind};
use nap_fault::reached;
use nap_model::ids::BranchName;
use nap_model::pg_conf;
use nap_server::aside::{Aside, Place};
use nap_server::program::{Program, ProgramError};
use nap_store::{Departure, Draft};
use tokio::time::Instant;

use super::change::store_failure;
use super::create::{Brought, Held, WAKES_WITHIN};
use super::socket_dir::SocketDir;
use super::{BranchSet, Entry, hba_file};
use crate::daemon::control_api::wake_failure;
use crate::daemon::secrets;

/// Who may connect to an exported cluster whose branch had no rules of its own: as initdb would have written it here.
const PLAIN_HBA: &str = "\
# TYPE  DATABASE     USER  ADDRESS       METHOD
local   all          all                 peer
host    all          all   127.0.0.1/32  scram-sha-256
host    all          all   ::1/128       scram-sha-256
local   replication  all                 peer
host    replication  all   127.0.0.1/32  scram-sha-256
host    replication  all   ::1/128       scram-sha-256
";

/// What lies outside now.
pub(in crate::daemon) struct Exported {
    pub(in crate::daemon) bytes: u64,
    pub(in crate::daemon) subscriptions_disabled: Option<u32>,
}

impl BranchSet {
    /// All of a branch, shut down cleanly.
    pub(in crate::daemon) async fn export_cluster(&self, name: &BranchName, to: &Path) -> Result<Exported, Failure> {
        let _making = self.making.clone();
        let entry = self.existing(name)?;
        let departure = self.depart(to).await?;
        let own = name.clone();
        reached("an export has a place").await;
        let draft = self.in_store(move |store| store.draft_of_itself(&own)).await?;
        let Brought { mut draft, parent_in_use, subscriptions, .. } = self.bring_files(&entry, draft).await?;
        if parent_in_use {
            self.shut_down_cleanly(&entry, &mut draft).await?;
        }
        let sent = draft.try_with(move |draft| {
            let files = plain_files(draft);
            nap_fault::point("an export is whole");
            draft.depart(&departure, &files)?;
            nap_fault::point("an export has left");
            departure.arrive()
        });
        Ok(Exported { bytes: sent.await?, subscriptions_disabled: subscriptions })
    }

    /// What a crash would have left recovers before anybody sees it.
    async fn shut_down_cleanly(&self, entry: &Entry, draft: &mut Held) -> Result<(), Failure> {
        let failed = |error: &(dyn std::error::Error + 'static)| {
            Failure::failed("a server on the copy does not start").caused_by(error)
        };
        let home = self.store.home();
        // Its socket is not that of the branch's own server, which runs.
        let id = secrets::branch_id().map_err(|error| Failure::failed(error.to_string()))?;
        nap_store::create::make_server_socket_dir(home, &id).map_err(store_failure)?;
        let socket_dir = home.server_socket_dir(&id);
        let _sockets = SocketDir::new(socket_dir.clone());
        let data = draft.with(|draft| draft.data()).await?;
        let place = Place { data, socket_dir, hba_file: Some(hba_file(home)) };
        let install = self.installs.of(entry.record.major).map_err(Failure::failed)?;
        let aside = Aside::start(&self.children, &install, place, &[]).await.map_err(|error| failed(&error))?;
        aside.stop().await.map_err(|error| failed(&error))
    }

    /// One database, by pg_dump.
    pub(in crate::daemon) async fn export_database(
        &self,
        name: &BranchName,
        database: &str,
        to: &Path,
        format: ExportFormat,
    ) -> Result<Exported, Failure> {
        let _making = self.making.clone();
        let entry = self.existing(name)?;
        let departure = self.depart(to).await?;
        let install = self.installs.of(entry.record.major).map_err(Failure::failed)?;
        let lease = entry.server.awake(Instant::now() + WAKES_WITHIN).await.map_err(wake_failure)?;
        let format = match format {
            ExportFormat::Plain => "--format=plain",
            ExportFormat::Tar => "--format=tar",
            ExportFormat::Custom | ExportFormat::Directory => "--format=custom",
        };
        let socket_dir = lease.socket().parent().map(PathBuf::from).unwrap_or_default();
        let dump = Program::new(&install, "pg_dump").args(["-w", "-p", "5432", format, "-U", lease.superuser(), "-h"]);
        // A name that looks like a connection string is none.
        let named = format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"));
        let dump = dump.args([&socket_dir]).args(["-d", &named]).args(["-f".as_ref(), departure.part().as_os_str()]);
        let dumped = dump.run(&self.children).await;
        drop(lease);
        dumped.map_err(|error| not_dumped(database, &error))?;
        reached("a dump is whole").await;
        let bytes = self.in_store(move |_| departure.arrive()).await?;
        Ok(Exported { bytes, subscriptions_disabled: Some(0) })
    }

    async fn depart(&self, to: &Path) -> Result<Departure, Failure> {
        if !to.is_absolute() {
            return Err(Failure::new(FailureKind::Usage, format!("{} is no whole path", to.display())));
        }
        let home = self.store.home().root().to_owned();
        let to = to.to_owned();
        let inside = to.parent().and_then(|parent| parent.canonicalize().ok());
        if inside.is_some_and(|parent| home.canonicalize().is_ok_and(|home| parent.starts_with(home))) {
            let message = format!("{} lies in the home, which is Napgres' own", to.display());
            return Err(Failure::new(FailureKind::Usage, message).hint("choose a place outside"));
        }
        self.in_store(move |store| Departure::begin(store.home(), &to)).await.map_err(|failure| match failure.hint {
            Some(_) => failure,
            None => failure
                .hint("the daemon writes it, as the user that it runs as: choose a directory where that user may"),
        })
    }
}

/// What a stock server wants to find. Its configuration is the branch's, as PostgreSQL has it.
fn plain_files(draft: &Draft) -> Vec<(&'static str, String)> {
    let own = draft.own_rules();
    let mut files = Vec::new();
    if own.is_some() || !draft.has_file("pg_hba.conf") {
        files.push(("pg_hba.conf", own.unwrap_or_else(|| PLAIN_HBA.to_owned())));
    }
    for missing in ["postgresql.conf", "pg_ident.conf"].into_iter().filter(|name| !draft.has_file(name)) {
        files.push((missing, String::new()));
    }
    // What it does for others, the copy must not do too.
    for name in ["postgresql.conf", "postgresql.auto.conf"] {
        let adopted = pg_conf::without_ours(&draft.text_of(name).unwrap_or_default());
        if !adopted.turned_off.is_empty() {
            files.push((name, adopted.text));
        }
    }
    files
}

fn not_dumped(database: &str, error: &ProgramError) -> Failure {
    Failure::failed(format!("the database \"{database}\" cannot be dumped")).caused_by(error)
}
