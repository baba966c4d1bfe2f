//! What the system must have: PostgreSQL, a user to run it, `nap` on the PATH.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nap_model::ids::Major;
use nap_server::install::{Install, Search, find_all, how_to_install, run_directly};
use nix::unistd::User;

use super::{Finding, Patient};
use crate::trust::trusted_bin;

pub(super) fn postgres(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "PostgreSQL";
    let found = installs(patient);
    if found.is_empty() {
        let what = format!("no PostgreSQL {} or newer was found", Major::OLDEST);
        return vec![Finding::fail(NAME, what, how_to_install(patient.settings.major()))];
    }
    if let Some(major) = patient.settings.major().filter(|major| !found.contains_key(major)) {
        let what = format!("PostgreSQL {major} (postgres_major) is not installed");
        return vec![Finding::fail(NAME, what, how_to_install(Some(major)))];
    }
    let describe = |(_, install): (&Major, &Install)| {
        Finding::ok(NAME, format!("{} in {}", install.version, install.bin.display()))
    };
    found.iter().rev().map(describe).collect()
}

fn installs(patient: &Patient<'_>) -> BTreeMap<Major, Install> {
    let own = patient.context.home.postgres_dir();
    find_all(Search { setting: trusted_bin(patient.settings.postgres_bin.as_deref()), own: &own }, &run_directly)
}

/// Root gives the servers to another user, who must be there and be able to run them.
pub(super) fn run_as(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "run_as";
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let name = &patient.settings.run_as;
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) => {
            let what = format!("there is no user {name}");
            return vec![Finding::fail(NAME, what, "install PostgreSQL's package, or set run_as to another user")];
        }
        Err(error) => {
            return vec![Finding::fail(NAME, format!("cannot look up {name}: {error}"), "mend the user database")];
        }
    };
    if user.uid.is_root() {
        let what = "run_as is root, and PostgreSQL does not run as root";
        return vec![Finding::fail(NAME, what, "nap config set run_as=postgres")];
    }
    let found = installs(patient);
    let own = std::env::current_exe().ok();
    let programs = found.values().map(|install| install.program("postgres")).chain(own);
    let refused = |program: &std::path::PathBuf| !runs_as(program, &user);
    let findings: Vec<Finding> = programs
        .filter(refused)
        .map(|program| {
            let what = format!("{name} cannot execute {}", program.display());
            Finding::fail(NAME, what, "give it, and every directory above it, o+rx, or install it elsewhere")
        })
        .collect();
    if findings.is_empty() { vec![Finding::ok(NAME, format!("{name} can run the servers"))] } else { findings }
}

fn runs_as(program: &Path, user: &User) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub(super) fn nap_on_path(_: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "nap on the PATH";
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path).map(|dir| dir.join("nap")).find(|program| program.is_file());
    let own = std::env::current_exe().and_then(std::fs::canonicalize).ok();
    vec![match (first, own) {
        (None, Some(own)) => {
            let dir = own.parent().unwrap_or(&own).display().to_string();
            Finding::warn(NAME, "not there", format!("export PATH=\"{dir}:$PATH\" in your shell's profile"))
        }
        (Some(first), Some(own)) if std::fs::canonicalize(&first).ok().as_ref() != Some(&own) => {
            let what = format!("it is another one: {}, not {}", first.display(), own.display());
            Finding::warn(NAME, what, "remove the one that is not wanted")
        }
        (Some(first), _) => Finding::ok(NAME, first.display().to_string()),
        (None, None) => Finding::warn(NAME, "not there", "install it"),
    }]
}
