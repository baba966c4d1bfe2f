//! What the system must have: PostgreSQL, a user to run it, `nap` on the PATH.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nap_model::ids::Major;
use nap_server::install::{Install, Search, find_all, how_to_install, run_directly, survey};
use nix::unistd::User;

use super::{Finding, Patient};
use crate::trust::trusted_bin;

pub(super) fn postgres(patient: &Patient<'_>) -> Vec<Finding> {
    let found = installs(patient);
    if found.is_empty() {
        let what = format!("no PostgreSQL {} or newer was found", Major::OLDEST);
        return vec![Finding::fail(what, how_to_install(patient.settings.major()))];
    }
    if let Some(major) = patient.settings.major().filter(|major| !found.contains_key(major)) {
        let what = format!("PostgreSQL {major} (postgres_major) is not installed");
        return vec![Finding::fail(what, how_to_install(Some(major)))];
    }
    let describe =
        |(_, install): (&Major, &Install)| Finding::ok(format!("{} in {}", install.version, install.bin.display()));
    found.iter().rev().map(describe).collect()
}

fn installs(patient: &Patient<'_>) -> BTreeMap<Major, Install> {
    let own = patient.context.home.postgres_dir();
    find_all(
        Search { setting: trusted_bin(&patient.context.home, patient.settings.postgres_bin.as_deref()), own: &own },
        &run_directly,
    )
}

/// An installation with a part missing is passed over, or fails later in the middle of something.
pub(super) fn programs(patient: &Patient<'_>) -> Vec<Finding> {
    let own = patient.context.home.postgres_dir();
    let setting = trusted_bin(&patient.context.home, patient.settings.postgres_bin.as_deref());
    let found = survey(Search { setting, own: &own }, &run_directly);
    let findings: Vec<Finding> = found
        .iter()
        .filter(|found| !found.missing.is_empty())
        .map(|found| {
            let lacks = format!("{} lacks {}", found.install.bin.display(), found.missing.join(", "));
            let cure = how_to_install(Some(found.install.major));
            if found.is_usable() {
                Finding::warn(lacks, cure)
            } else {
                Finding::fail(format!("{lacks}, and is not used"), cure)
            }
        })
        .collect();
    if findings.is_empty() { vec![Finding::ok("no installation lacks any")] } else { findings }
}

/// From 17 on PostgreSQL brings its own.
const BUILTIN_LOCALE_SINCE: Major = Major(17);

/// New clusters before 17 take C.UTF-8 from the system.
pub(super) fn locale(patient: &Patient<'_>) -> Vec<Finding> {
    let found = installs(patient);
    let newest = patient.settings.major().or_else(|| found.keys().next_back().copied());
    if newest.is_none_or(|major| major >= BUILTIN_LOCALE_SINCE) {
        return Vec::new();
    }
    let Some(list) = run_directly(Command::new("locale").arg("-a").stderr(Stdio::null())) else { return Vec::new() };
    let is_ours = |line: &str| line.eq_ignore_ascii_case("C.UTF-8") || line.eq_ignore_ascii_case("C.utf8");
    vec![if list.lines().any(is_ours) {
        Finding::ok("C.UTF-8")
    } else {
        let cure = "install the system's locales, for instance `sudo apt-get install --reinstall libc-bin`; PostgreSQL 17 needs none";
        Finding::fail("the locale C.UTF-8, which new clusters have, is not there", cure)
    }]
}

/// Root gives the servers to another user, who must be there and be able to run them.
pub(super) fn run_as(patient: &Patient<'_>) -> Vec<Finding> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let name = &patient.settings.run_as;
    let user = match User::from_name(name) {
        Ok(Some(user)) => user,
        Ok(None) => {
            let what = format!("there is no user {name}");
            return vec![Finding::fail(what, "install PostgreSQL's package, or set run_as to another user")];
        }
        Err(error) => {
            return vec![Finding::fail(format!("cannot look up {name}: {error}"), "mend the user database")];
        }
    };
    if user.uid.is_root() {
        let what = "run_as is root, and PostgreSQL does not run as root";
        return vec![Finding::fail(what, "nap config set run_as=postgres")];
    }
    let found = installs(patient);
    let own = std::env::current_exe().ok();
    let programs = found.values().map(|install| install.program("postgres")).chain(own);
    let refused = |program: &std::path::PathBuf| !runs_as(program, &user);
    let findings: Vec<Finding> = programs
        .filter(refused)
        .map(|program| {
            let what = format!("{name} cannot execute {}", program.display());
            Finding::fail(what, "give it, and every directory above it, o+rx, or install it elsewhere")
        })
        .collect();
    if findings.is_empty() { vec![Finding::ok(format!("{name} can run the servers"))] } else { findings }
}

fn runs_as(program: &Path, user: &User) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

pub(super) fn nap_on_path(_: &Patient<'_>) -> Vec<Finding> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path).map(|dir| dir.join("nap")).find(|program| program.is_file());
    let own = std::env::current_exe().and_then(std::fs::canonicalize).ok();
    vec![match (first, own) {
        (None, Some(own)) => {
            let dir = own.parent().unwrap_or(&own).display().to_string();
            Finding::warn("not there", format!("export PATH=\"{dir}:$PATH\" in your shell's profile"))
        }
        (Some(first), Some(own)) if std::fs::canonicalize(&first).ok().as_ref() != Some(&own) => {
            let what = format!("it is another one: {}, not {}", first.display(), own.display());
            Finding::warn(what, "remove the one that is not wanted")
        }
        (Some(first), _) => Finding::ok(first.display().to_string()),
        (None, None) => Finding::warn("not there", "install it"),
    }]
}
