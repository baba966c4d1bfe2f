//! The first start of a home: a template, the branch main cloned from it, a role and a database for whoever runs it.

use std::sync::Arc;

use anyhow::Context as _;
use nap_model::ids::{BranchName, Major};
use nap_server::children::Children;
use nap_server::initdb::{BOOTSTRAP_SUPERUSER, initdb, single_user};
use nap_server::install::Install;
use nap_store::{Store, durable};

use super::config::Config;
use super::installs::Installs;
use super::{DaemonOptions, secrets};

/// PostgreSQL's NAMEDATALEN, less the closing zero.
const NAME_MAX_BYTES: usize = 63;

/// Makes main, unless there are branches already.
pub(super) async fn make_main(
    store: &Arc<Store>,
    config: &Config,
    installs: &Installs,
    children: &Children,
    options: &DaemonOptions,
) -> anyhow::Result<()> {
    let there = store.branches()?;
    if !there.whole.is_empty() || !there.broken.is_empty() {
        let majors = there.whole.into_iter().map(|branch| (branch.record.name, branch.record.major));
        return Ok(crate::pg_option::check(options.pg, majors)?);
    }
    let install = installs.for_new(options.pg)?;
    let role = role_name(&options.invoking_user);
    let password = secrets::password()?;
    let path = store.home().password_file(&role);
    durable::write_atomic(&path, format!("{password}\n").as_bytes(), 0o600)
        .with_context(|| format!("cannot write {}", path.display()))?;
    config.set("role", Some(&role))?;
    tracing::info!(major = %install.major, role, "first start: making the branch main");
    let commands = first_role(&role, &password);
    let (store, children) = (store.clone(), children.clone());
    tokio::task::spawn_blocking(move || make(&store, &children, &install, &commands)).await?
}

fn make(store: &Store, children: &Children, install: &Install, commands: &[String]) -> anyhow::Result<()> {
    let major: Major = install.major;
    store.make_template(major, |data| initdb(children, install, data))?;
    let id = secrets::branch_id()?;
    let made =
        store.create_root(&BranchName::main(), id, major, |data| single_user(children, install, data, commands))?;
    tracing::info!(method = ?made.cloned.method, bytes = made.cloned.bytes, "main was cloned from the template");
    Ok(())
}

/// The name of the first role: the user's, as far as PostgreSQL and our own `USER@BRANCH` allow it.
fn role_name(user: &str) -> String {
    let mut name = user.split('@').next().unwrap_or_default().to_owned();
    while name.len() > NAME_MAX_BYTES {
        name.pop();
    }
    // Roles that begin with pg_ are PostgreSQL's own, and so are databases that begin with template.
    let reserved = name.is_empty()
        || name.starts_with("pg_")
        || name.starts_with("template")
        || name == "public"
        || name == "none";
    if reserved || name.contains('\0') { BOOTSTRAP_SUPERUSER.to_owned() } else { name }
}

fn first_role(role: &str, password: &str) -> Vec<String> {
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    if role == BOOTSTRAP_SUPERUSER {
        return vec![format!("ALTER ROLE {quoted} PASSWORD '{password}'")];
    }
    vec![
        format!("CREATE ROLE {quoted} SUPERUSER CREATEDB CREATEROLE REPLICATION BYPASSRLS LOGIN PASSWORD '{password}'"),
        format!("CREATE DATABASE {quoted} OWNER {quoted}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_user_names_still_make_a_role() {
        assert_eq!(role_name("alice"), "alice");
        assert_eq!(role_name("alice@corp.example"), "alice");
        assert_eq!(role_name("pg_user"), "postgres");
        assert_eq!(role_name(""), "postgres");
        assert_eq!(role_name(&"ä".repeat(60)).len(), 62);
        assert_eq!(first_role("o\"x", "p")[1], "CREATE DATABASE \"o\"\"x\" OWNER \"o\"\"x\"");
    }
}
