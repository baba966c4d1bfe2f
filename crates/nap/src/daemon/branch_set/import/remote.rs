//! From a server that runs: questions by psql, the whole cluster by pg_basebackup.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use nap_control::Failure;
use nap_fault::reached;
use nap_model::hba::Rules;
use nap_model::ids::Major;
use nap_model::pg_conf::{self, Adopted};
use nap_server::children::Children;
use nap_server::install::Install;
use nap_server::program::{Printed, Program, ProgramError};
use nap_store::Arrival;

use super::{Arriving, Wanted};
use crate::daemon::branch_set::BranchSet;

/// What every program of libpq's is told, unless the user says otherwise: nobody is there to be asked for a password.
const DEFAULTS: [(&str, &str); 3] =
    [("PGCONNECT_TIMEOUT", "10"), ("PGAPPNAME", "nap import"), ("PGDATABASE", "postgres")];

/// The other end of a connection string.
pub(super) struct Remote<'a> {
    pub(super) children: &'a Children,
    pub(super) install: Install,
    pub(super) url: &'a str,
    environment: Vec<(String, String)>,
}

impl<'a> Remote<'a> {
    pub(super) fn new(set: &'a BranchSet, url: &'a str, given: &[(String, String)]) -> Result<Self, Failure> {
        let install =
            set.installs.for_new(None).map_err(|error| Failure::failed(error.to_string()).hint(error.hint()))?;
        let mut environment: BTreeMap<String, String> =
            DEFAULTS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // Nothing but libpq's own variables.
        environment.extend(given.iter().filter(|(name, _)| name.starts_with("PG")).cloned());
        Ok(Self { children: &set.children, install, url, environment: environment.into_iter().collect() })
    }

    /// One of PostgreSQL's programs, which is told where to go and how to get in.
    pub(super) fn program(&self, name: &'static str) -> Program<'_> {
        let variables = self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Program::new(&self.install, name).args(["-w", "-d", self.url]).envs(variables)
    }

    /// What it answers, as it stands there.
    pub(super) async fn ask(&self, sql: &str) -> Result<String, ProgramError> {
        let Printed { out, .. } = self.program("psql").args(["-XAtq", "-c", sql]).run(self.children).await?;
        Ok(out.strip_suffix('\n').map(str::to_owned).unwrap_or(out))
    }

    /// Its major version.
    pub(super) async fn major(&self) -> Result<Major, Failure> {
        let asked = self.ask("SHOW server_version_num").await.map_err(|error| not_reached(&error))?;
        let number: u32 = asked.trim().parse().map_err(|_| Failure::failed("the server tells no version"))?;
        Ok(Major(u16::try_from(number / 10_000).unwrap_or(u16::MAX)))
    }
}

impl BranchSet {
    /// All of what a connection string leads to.
    pub(super) async fn import_cluster(
        &self,
        url: &str,
        environment: Vec<(String, String)>,
        wanted: Wanted,
    ) -> Result<Arriving, Failure> {
        let remote = Remote::new(self, url, &environment)?;
        // Before anything is copied: what cannot be had in the end need not be begun.
        remote.major().await?;
        let text = if wanted.ignore_hba { None } else { remote.ask(HBA).await.ok() };
        let from = remote.ask("SHOW hba_file").await.unwrap_or_else(|_| "pg_hba.conf".to_owned());
        let rules = match text {
            Some(text) => {
                let rules = self.check_rules(&text, from.as_ref(), &wanted)?;
                Some((text, rules))
            }
            None => None,
        };
        self.basebackup(url, &environment, (wanted, rules), None).await
    }

    /// Copies it while it runs. `conf` is what is known of its configuration.
    pub(super) async fn basebackup(
        &self,
        url: &str,
        environment: &[(String, String)],
        (wanted, rules): (Wanted, Option<(String, Arc<Rules>)>),
        conf: Option<Adopted>,
    ) -> Result<Arriving, Failure> {
        let mut remote = Remote::new(self, url, environment)?;
        let major = remote.major().await?;
        remote.install = self.install_of(major)?;
        let far = tablespaces(&remote).await?;
        let mut arriving = self.arriving(&wanted, remote.install.clone()).await?;
        let data = arriving.arrival.with(|arrival| arrival.data()).await?;
        let mapped =
            arriving.arrival.with(move |arrival| far.iter().map(|far| far.mapped_to(arrival)).collect::<Vec<_>>());
        reached("a base backup is to begin").await;
        let backup = remote.program("pg_basebackup").args(["-X", "stream", "-c", "fast", "--no-sync", "--no-manifest"]);
        let backup = backup.args(["-D".as_ref(), data.as_os_str()]).args(mapped.await?);
        let copied = backup.run(remote.children).await;
        copied.map_err(|error| {
            Failure::failed("the cluster cannot be copied").caused_by(&error).hint(
                "pg_basebackup needs a role with REPLICATION, a line for replication in the server's pg_hba.conf, and \
                 two free walsenders; a single database can be had without: name it in the URL",
            )
        })?;
        arriving.arrival.try_with(|arrival| arrival.take_stock()).await?;
        self.bring_conf(&remote, &mut arriving, conf).await?;
        self.bring_rules(&mut arriving, rules, &wanted).await?;
        Ok(arriving)
    }

    /// Its configuration came along, or lies elsewhere (as Debian has it) and is asked for.
    async fn bring_conf(
        &self,
        remote: &Remote<'_>,
        arriving: &mut Arriving,
        known: Option<Adopted>,
    ) -> Result<(), Failure> {
        let came = arriving.arrival.with(|arrival| arrival.text_of("postgresql.conf")).await?;
        let conf = match (known, came) {
            (Some(known), _) => known,
            (None, Some(text)) => pg_conf::adopt_text(&text),
            (None, None) => match remote.ask(CONFIGURED).await {
                Ok(json) => conf_of(&json)?,
                Err(error) => {
                    arriving
                        .remark(format!("its configuration could not be read, so PostgreSQL's defaults hold: {error}"));
                    super::directory::none()
                }
            },
        };
        arriving.configure(conf).await
    }

    async fn bring_rules(
        &self,
        arriving: &mut Arriving,
        rules: Option<(String, Arc<Rules>)>,
        wanted: &Wanted,
    ) -> Result<(), Failure> {
        if wanted.ignore_hba {
            return Ok(());
        }
        let came = arriving.arrival.with(|arrival| arrival.text_of("pg_hba.conf")).await?;
        let rules = match (rules, came) {
            (Some(rules), _) => Some(rules),
            (None, Some(text)) => {
                let rules = self.check_rules(&text, "pg_hba.conf".as_ref(), wanted)?;
                Some((text, rules))
            }
            (None, None) => None,
        };
        match rules {
            Some((text, rules)) => arriving.take_rules(text, rules).await,
            None => {
                arriving.remark("its pg_hba.conf could not be read, which takes a superuser: the home's rules hold");
                Ok(())
            }
        }
    }
}

const HBA: &str = "SELECT pg_catalog.pg_read_file(pg_catalog.current_setting('hba_file'))";

/// What its files set, with their units.
const CONFIGURED: &str = "SELECT coalesce(pg_catalog.json_object_agg(name, pg_catalog.current_setting(name)), '{}') \
     FROM pg_catalog.pg_settings WHERE source = 'configuration file' AND setting IS NOT NULL";

const TABLESPACES: &str = "SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object( \
     'oid', oid::pg_catalog.int8, 'place', pg_catalog.pg_tablespace_location(oid))), '[]') \
     FROM pg_catalog.pg_tablespace WHERE pg_catalog.pg_tablespace_location(oid) LIKE '/%'";

/// A tablespace outside of the data directory.
#[derive(serde::Deserialize)]
struct Far {
    oid: u32,
    place: String,
}

impl Far {
    /// A copy of it would be put where the original is, if nobody said otherwise.
    fn mapped_to(&self, arrival: &Arrival) -> OsString {
        let escaped = |path: &str| path.replace('=', "\\=");
        let to = arrival.place_for_tablespace(self.oid);
        format!("--tablespace-mapping={}={}", escaped(&self.place), escaped(&to.to_string_lossy())).into()
    }
}

async fn tablespaces(remote: &Remote<'_>) -> Result<Vec<Far>, Failure> {
    let json = remote.ask(TABLESPACES).await.map_err(|error| not_reached(&error))?;
    serde_json::from_str(&json)
        .map_err(|error| Failure::failed("the server's tablespaces make no sense").caused_by(&error))
}

fn conf_of(json: &str) -> Result<Adopted, Failure> {
    let set: BTreeMap<String, String> = serde_json::from_str(json)
        .map_err(|error| Failure::failed("the server's settings make no sense").caused_by(&error))?;
    let lines: String = set.iter().map(|(name, value)| pg_conf::written(name, value)).collect();
    Ok(pg_conf::adopt_text(&lines))
}

pub(super) fn not_reached(error: &ProgramError) -> Failure {
    Failure::failed("cannot ask the server that is to be imported").caused_by(error).hint(
        "the daemon connects, not this command: host names, certificates and users are as it sees them; a password is \
         taken from the URL, PGPASSWORD or ~/.pgpass",
    )
}
