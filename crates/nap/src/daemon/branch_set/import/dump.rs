//! From a database of a server that runs: pg_dump there, pg_restore here, into a new cluster with the roles of the old one.

use std::path::Path;

use nap_control::{Failure, FailureKind};
use nap_fault::reached;
use nap_model::ids::Major;
use nap_server::aside::Aside;
use nap_server::initdb::{self, BOOTSTRAP_SUPERUSER};
use nap_server::install::Install;
use nap_server::program::{Printed, Program};

use super::remote::{Remote, not_reached};
use super::{Arriving, Wanted, does_not_start};
use crate::daemon::branch_set::BranchSet;

/// So many statements about roles that failed are told.
const TOLD_MAX: usize = 10;

/// What could be learnt of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roles {
    All,
    WithoutPasswords,
    None,
}

impl BranchSet {
    /// The database that a connection string names.
    pub(super) async fn import_database(
        &self,
        url: &str,
        environment: Vec<(String, String)>,
        wanted: Wanted,
    ) -> Result<Arriving, Failure> {
        let mut remote = Remote::new(self, url, &environment)?;
        let theirs = remote.major().await?;
        let install =
            self.installs.for_new(wanted.pg).map_err(|error| Failure::failed(error.to_string()).hint(error.hint()))?;
        refuse_older(&install, theirs)?;
        remote.install = install.clone();
        let database = remote.ask("SELECT pg_catalog.current_database()").await.map_err(|error| not_reached(&error))?;
        let mut arriving = self.arriving(&wanted, install.clone()).await?;
        self.make_empty(&mut arriving).await?;
        let dump = arriving.arrival.with(|arrival| arrival.aside("dump")).await?;
        let roles_file = arriving.arrival.with(|arrival| arrival.aside("roles.sql")).await?;
        let dumping = remote.program("pg_dump").args(["--format=custom", "--compress=1", "--file"]).args([&dump]);
        dumping.run(remote.children).await.map_err(|error| {
            Failure::failed(format!("the database \"{database}\" cannot be dumped"))
                .caused_by(&error)
                .hint("pg_dump must be able to read every table; extensions' own rules apply")
        })?;
        let roles = dump_roles(&remote, &database, &roles_file, &mut arriving).await;
        reached("a database was dumped").await;
        let aside = self.run_aside(&mut arriving).await?;
        let restored = self.restore_dump(&aside, &mut arriving, (&database, roles), (&dump, &roles_file)).await;
        reached("a database was restored").await;
        let stopped = aside.stop().await;
        restored?;
        stopped.map_err(|error| does_not_start(&error))?;
        let left = [dump, roles_file];
        arriving
            .arrival
            .with(move |arrival| {
                left.iter().for_each(|file| drop(std::fs::remove_file(file)));
                arrival.take_stock()
            })
            .await?
            .map_err(super::store_failure)?;
        arriving.remark(format!(
            "it is a new cluster of PostgreSQL {} with the database \"{database}\"; the rules of the home hold",
            install.major
        ));
        Ok(arriving)
    }

    async fn make_empty(&self, arriving: &mut Arriving) -> Result<(), Failure> {
        let (children, install) = (self.children.clone(), arriving.install.clone());
        let template = self
            .in_store(move |store| store.make_template(install.major, |data| initdb::initdb(&children, &install, data)))
            .await?;
        arriving.arrival.try_with(move |arrival| arrival.copy_template(&template.data)).await
    }

    async fn restore_dump(
        &self,
        aside: &Aside,
        arriving: &mut Arriving,
        (database, roles): (&str, Roles),
        (dump, roles_file): (&Path, &Path),
    ) -> Result<(), Failure> {
        let install = arriving.install.clone();
        if roles != Roles::None {
            let psql = inside(&install, "psql", aside).args(["-X", "-q", "-d", "postgres", "-f"]).args([roles_file]);
            let Printed { err, .. } = psql.run(&self.children).await.map_err(|error| not_restored(&error))?;
            err.lines().filter(|line| is_news(line)).take(TOLD_MAX).for_each(|line| {
                arriving.remark(format!(
                    "of the roles: {}",
                    line.rsplit_once("ERROR:").map_or(line, |(_, said)| said).trim()
                ));
            });
        }
        let mut restore = inside(&install, "pg_restore", aside).args(["--exit-on-error", "--no-tablespaces"]);
        restore = match database {
            // They are there already.
            "postgres" | "template1" => restore.args(["-d", database]),
            _ => restore.args(["--create", "-d", "postgres"]),
        };
        if roles == Roles::None {
            restore = restore.args(["--no-owner", "--no-privileges"]);
        }
        restore.args([dump]).run(&self.children).await.map_err(|error| not_restored(&error))?;
        Ok(())
    }
}

/// A program that connects to the server aside.
fn inside<'a>(install: &'a Install, name: &'static str, aside: &Aside) -> Program<'a> {
    let program = Program::new(install, name).args(["-w", "-U", BOOTSTRAP_SUPERUSER, "-p", "5432", "-h"]);
    program.args([aside.socket_dir()])
}

fn refuse_older(install: &Install, theirs: Major) -> Result<(), Failure> {
    if install.major >= theirs {
        return Ok(());
    }
    let message = format!("the server is PostgreSQL {theirs}, and its dump would go to PostgreSQL {}", install.major);
    Err(Failure::new(FailureKind::Conflict, message)
        .because("a dump does not go to an older version")
        .hint(format!("`nap pg install {theirs}`, then name it with --pg {theirs}")))
}

/// As much as the server lets this role see.
async fn dump_roles(remote: &Remote<'_>, database: &str, file: &Path, arriving: &mut Arriving) -> Roles {
    let dump = |more: &'static [&'static str]| {
        let program = remote.program("pg_dumpall").args(["--roles-only", "-l", database]).args(more);
        program.args(["-f".as_ref(), file.as_os_str()]).run(remote.children)
    };
    let (roles, error) = match dump(&[]).await {
        Ok(_) => (Roles::All, None),
        Err(_) => match dump(&["--no-role-passwords"]).await {
            Ok(_) => (Roles::WithoutPasswords, None),
            Err(error) => (Roles::None, Some(error)),
        },
    };
    match (roles, error) {
        (Roles::WithoutPasswords, _) => {
            arriving
                .remark("passwords could not be read, which takes a superuser: set them with ALTER ROLE … PASSWORD");
        }
        (Roles::None, Some(error)) => {
            let owner = BOOTSTRAP_SUPERUSER;
            arriving.remark(format!(
                "roles could not be read, so everything belongs to {owner} and nothing is granted: {error}"
            ));
        }
        _ => {}
    }
    if roles != Roles::None {
        keep_superuser(file, arriving);
    }
    roles
}

/// The old server's role of that name may be no superuser; ours has to stay one.
fn keep_superuser(file: &Path, arriving: &mut Arriving) {
    let Ok(text) = std::fs::read_to_string(file) else { return };
    let head = format!("ALTER ROLE {BOOTSTRAP_SUPERUSER} WITH ");
    let kept = text.lines().map(|line| match line.strip_prefix(&head) {
        Some(rest) => format!("{head}{}\n", rest.replace("NOSUPERUSER", "SUPERUSER").replace("NOLOGIN", "LOGIN")),
        None => format!("{line}\n"),
    });
    let kept: String = kept.collect();
    if kept.trim_end() == text.trim_end() {
        return;
    }
    arriving.remark(format!("the role {BOOTSTRAP_SUPERUSER} is a superuser here, and was none there"));
    let _ = std::fs::remove_file(file);
    if let Err(error) = nap_store::durable::stage_file(file, kept.as_bytes(), 0o600) {
        tracing::warn!(%error, "cannot write the roles");
    }
}

/// What psql said that is not to be expected: the role that initdb made is there already.
fn is_news(line: &str) -> bool {
    line.contains("ERROR:")
        && !(line.contains(&format!("role \"{BOOTSTRAP_SUPERUSER}\"")) && line.contains("already exists"))
}

fn not_restored(error: &nap_server::program::ProgramError) -> Failure {
    Failure::failed("what was dumped cannot be restored here")
        .caused_by(error)
        .hint("an extension or a locale that the database uses may be missing on this machine")
}
