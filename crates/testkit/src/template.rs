//! What `initdb` made for one home, for the others of a run: it is most of the time of a first start.
//!
//! Only in a run that says where it may be kept, `NAP_TEST_TEMPLATES`, and that removes it at its end: another run may be of another
//! program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::Output;
use crate::crash::give_to_server_user;

/// Makes a new home one whose first start has come as far as its template. Whether there is nothing left to be kept of it.
pub(crate) fn give(home: &Path, major: u16) -> bool {
    let Some(kept) = place(major) else { return true };
    if home.join("format").exists() || home.join("pool.toml").exists() {
        return true;
    }
    if !kept.is_dir() {
        return false;
    }
    let templates = home.join("templates");
    std::fs::create_dir(&templates).expect("make a directory");
    std::fs::set_permissions(&templates, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("set the mode");
    copy(&kept, &templates.join(major.to_string()));
    std::fs::write(home.join("format"), "1\n").expect("write format");
    give_to_server_user(&templates);
    give_to_server_user(&home.join("format"));
    true
}

/// Keeps the template of a home that was just started for the first time.
pub(crate) fn keep(home: &Path, major: u16) {
    let Some(kept) = place(major) else { return };
    let half_copied = kept.with_extension(format!("of-{}", std::process::id()));
    copy(&home.join("templates").join(major.to_string()), &half_copied);
    if std::fs::rename(&half_copied, &kept).is_err() {
        // Another test was faster.
        std::fs::remove_dir_all(&half_copied).expect("remove a directory");
    }
}

fn place(major: u16) -> Option<PathBuf> {
    std::env::var_os("NAP_TEST_TEMPLATES").map(|templates| Path::new(&templates).join(major.to_string()))
}

/// With owners and modes.
fn copy(from: &Path, to: &Path) {
    Output::of(Command::new("cp").args([OsStr::new("-a"), from.as_os_str(), to.as_os_str()])).ok();
}
