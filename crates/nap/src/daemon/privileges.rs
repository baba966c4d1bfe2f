//! Who the daemon is. PostgreSQL refuses to run as root, and a client's bytes must never be read by root.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nap_control::{Failure, FailureKind};
use nap_store::Owner;
use nix::unistd::{Gid, Uid, User};
use rustix::process::{Resource, Rlimit};

/// Whom root must become; `None` for everybody else.
///
/// A home that is there already decides: its settings are written by the user that owns it, and must not make root
/// become somebody else.
pub(crate) fn owner(home: &Path, run_as: &str) -> anyhow::Result<Option<Owner>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name(run_as).ok().flatten().ok_or_else(|| {
        Failure::new(FailureKind::Failed, format!("there is no user \"{run_as}\" to run servers as"))
            .because("PostgreSQL refuses to run as root")
            .hint("PostgreSQL's packages make the user postgres, and so does `useradd --system postgres`; or name another one: run_as in nap.toml")
    })?;
    if user.uid.is_root() {
        return Err(Failure::new(FailureKind::Failed, "run_as is root, and PostgreSQL refuses to run as root")
            .hint("name an ordinary user: `nap config set run_as=postgres`")
            .into());
    }
    let home_uid = std::fs::metadata(home).map_or(0, |found| found.uid());
    if home_uid != 0 && home_uid != user.uid.as_raw() {
        let message = format!("{} belongs to user {home_uid}, and run_as is {run_as}", home.display());
        let cure = format!("give it to that user: chown -R {run_as} {}", home.display());
        return Err(Failure::new(FailureKind::Failed, message).hint(cure).into());
    }
    if let Some(closed) = closed_directory(home, &user) {
        let message = format!("{run_as}, who runs the daemon, cannot enter {}", closed.display());
        return Err(Failure::new(FailureKind::Failed, message)
            .hint(format!("choose another home (--home), or let {run_as} through: chmod o+x {}", closed.display()))
            .into());
    }
    Ok(Some(Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
}

/// A program that run_as cannot reach is none that the system could start as that user.
pub(super) fn refuse_unreachable(program: &Path, run_as: &str) -> anyhow::Result<()> {
    let user = User::from_name(run_as).ok().flatten();
    match user.and_then(|user| closed_directory(program.parent()?, &user)) {
        None => Ok(()),
        Some(closed) => {
            let message = format!("{run_as}, who runs the daemon, cannot enter {}", closed.display());
            Err(Failure::failed(message)
                .because(format!("this program is {}", program.display()))
                .hint("put it where everybody can run it: /usr/local/bin")
                .into())
        }
    }
}

/// The uppermost directory on the way to the home that the user may not pass through, as its mode says. Below a home
/// that is not there yet everything will be the user's own.
fn closed_directory(home: &Path, user: &User) -> Option<PathBuf> {
    let name = std::ffi::CString::new(user.name.clone()).unwrap_or_default();
    let groups: Vec<u32> = nix::unistd::getgrouplist(&name, user.gid)
        .map_or_else(|_| vec![user.gid.as_raw()], |groups| groups.into_iter().map(Gid::as_raw).collect());
    let there = home.ancestors().find_map(|dir| dir.canonicalize().ok())?;
    let mut way: Vec<&Path> = there.ancestors().collect();
    way.reverse();
    let may = |dir: &&Path| {
        std::fs::metadata(dir).is_ok_and(|found| {
            let own_bits = if found.uid() == user.uid.as_raw() {
                0o100
            } else if groups.contains(&found.gid()) {
                0o010
            } else {
                0o001
            };
            found.mode() & own_bits != 0
        })
    };
    // A home that is there already belongs to the user, or will be given to it.
    let home = home.canonicalize().ok();
    way.into_iter().filter(|dir| home.as_deref() != Some(*dir)).find(|dir| !may(dir)).map(Path::to_owned)
}

/// What children of the daemon must hear of who they are: the user it became, not the one that started it.
pub(super) fn environment() -> Vec<(String, String)> {
    let user = User::from_uid(Uid::effective()).ok().flatten();
    user.map_or_else(Vec::new, |user| {
        let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
        vec![
            ("HOME".into(), text(user.dir)),
            ("SHELL".into(), text(user.shell)),
            ("USER".into(), user.name.clone()),
            ("LOGNAME".into(), user.name),
        ]
    })
}

/// Descriptors that whoever started us left open must not reach a server: a lock would be held for as long as it runs,
/// and a superuser of a database could read what only root may open.
pub(super) fn keep_descriptors_from_servers() {
    close_fds::set_fds_cloexec(3, &[]);
}

/// Becomes that user for good, with its groups. Called while there is one thread.
pub(crate) fn become_user(owner: Option<Owner>, run_as: &str) -> anyhow::Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    // Servers inherit it; a working directory would keep a file system from being unmounted.
    std::env::set_current_dir("/").context("cannot change to /")?;
    let Some(owner) = owner else { return Ok(()) };
    let name = std::ffi::CString::new(run_as).context("run_as holds a zero byte")?;
    let gid = Gid::from_raw(owner.gid);
    // Groups first: a user who is no longer root may change none of them.
    nix::unistd::initgroups(&name, gid).context("cannot take on the groups of run_as")?;
    nix::unistd::setgid(gid).context("cannot take on the group of run_as")?;
    nix::unistd::setuid(Uid::from_raw(owner.uid)).context("cannot become run_as")?;
    anyhow::ensure!(nix::unistd::setuid(Uid::from_raw(0)).is_err(), "root can be had back");
    Ok(())
}

/// Every session takes two descriptors; the usual soft limit of 1,024 would end at some 500 of them.
pub(super) fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "directories of a test need no durability")]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_directory_that_is_closed_is_named() {
        let top = tempfile::tempdir().unwrap();
        let set = |dir: &Path, mode| std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
        set(top.path(), 0o755);
        let closed = top.path().canonicalize().unwrap().join("closed");
        std::fs::create_dir(&closed).unwrap();
        let mut user = User::from_uid(Uid::effective()).unwrap().unwrap();
        let (own, stranger) = (user.clone(), Uid::from_raw(54_321));
        (user.uid, user.gid, user.name) = (stranger, Gid::from_raw(54_321), "nobody-of-that-name".into());
        let home = closed.join("a/b");
        set(&closed, 0o700);
        assert_eq!(closed_directory(&home, &user).as_ref(), Some(&closed));
        assert_eq!(closed_directory(&home, &own), None, "its owner may");
        set(&closed, 0o701);
        assert_eq!(closed_directory(&home, &user), None);
    }
}
