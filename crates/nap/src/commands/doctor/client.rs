//! What is in the way of clients that this user starts.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::{Finding, Patient};
use crate::output::quote::shell;

/// What names a server or how to find one.
const LEADING: [&str; 5] = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE", "PGSERVICEFILE"];

/// Variables that lead libpq elsewhere. Those of `nap env` lead here.
pub(super) fn variables(patient: &Patient<'_>) -> Vec<Finding> {
    let set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
    let misleading: Vec<&str> = LEADING.into_iter().filter(set).filter(|name| !leads_here(patient, name)).collect();
    if misleading.is_empty() {
        return vec![Finding::ok("none leads elsewhere")];
    }
    let shown: Vec<String> =
        misleading.iter().map(|name| format!("{name}={}", std::env::var(name).unwrap_or_default())).collect();
    let what = format!("clients of this shell do not come here: {}", shown.join(", "));
    vec![Finding::warn(what, format!("unset {}", misleading.join(" ")))]
}

fn leads_here(patient: &Patient<'_>, name: &str) -> bool {
    let port = patient.status.as_ref().map_or(patient.settings.port, |status| status.port);
    let value = std::env::var(name).unwrap_or_default();
    match name {
        "PGPORT" => value == port.to_string(),
        "PGHOST" => value == "localhost" || PathBuf::from(&value).starts_with(patient.context.home.run_dir()),
        _ => false,
    }
}

/// libpq passes over a password file that others can read, with a warning that few programs show.
pub(super) fn password_file(_: &Patient<'_>) -> Vec<Finding> {
    let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    let Some(path) = named.or_else(|| Some(std::env::home_dir()?.join(".pgpass"))) else { return Vec::new() };
    let Ok(found) = std::fs::metadata(&path) else { return Vec::new() };
    let mode = found.permissions().mode() & 0o777;
    vec![if mode & 0o077 == 0 {
        Finding::ok(path.display().to_string())
    } else {
        let what = format!("{} has mode {mode:04o}, so libpq does not read it", path.display());
        Finding::warn(what, format!("chmod 600 {}", shell(&path.to_string_lossy())))
    }]
}
