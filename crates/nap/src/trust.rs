//! What root may run. The home and its settings belong to the user that servers run as, so a path from there must not
//! become a program that root executes, unless only root could have put it there.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nap_server::install::is_own;
use nap_store::Home;

/// Write permission for group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Whether this user may run that program: anybody may, root only what nobody else can change.
pub(crate) fn may_run(program: &Path) -> bool {
    !rustix::process::geteuid().is_root() || only_root_changes(program)
}

/// What postgres_bin names, unless root must not run what is there. The home's own are known without being run.
pub(crate) fn trusted_bin<'a>(home: &Home, setting: Option<&'a Path>) -> Option<&'a Path> {
    setting.filter(|bin| is_own(bin, &home.postgres_dir()) || may_run(&bin.join("postgres")))
}

fn only_root_changes(program: &Path) -> bool {
    let Ok(program) = program.canonicalize() else { return false };
    program.ancestors().all(|path| {
        std::fs::metadata(path).is_ok_and(|found| found.uid() == 0 && found.mode() & WRITABLE_BY_OTHERS == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_change_is_not_roots_to_run() {
        assert!(only_root_changes(Path::new("/bin/sh")));
        let ours = tempfile::NamedTempFile::new().unwrap();
        assert!(!only_root_changes(ours.path()), "/tmp is everybody's");
        assert!(!only_root_changes(Path::new("/no/such/program")));
    }
}
