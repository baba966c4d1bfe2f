//! What file systems do: reflinks, no space, read-only. Real mounts, so only for root; others pass without a look.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nap_store::clone::clone_by;
use nap_store::{
    BranchDir, Changes, CloneMethod, Home, HomeLock, LockError, Store, StoreError, make_home, probe_reflink,
    probe_snapshot,
};

#[path = "../src/fixture.rs"]
mod fixture;
use fixture::{KEPT, MAJOR, count, home_with_template, id, name, no_fill};

/// A program that one test starts holds the files that another has open until it runs, and with them the space of
/// those that were deleted.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A file system that goes when the test does.
struct Mount {
    dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

impl Mount {
    /// `None`: this machine (or user) cannot.
    fn new(how: &[&str], what: &str) -> Option<Self> {
        let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mount = Self { dir: tempfile::tempdir().unwrap(), _alone };
        fs::create_dir(mount.at()).unwrap();
        let target = mount.at();
        let arguments = [how, &[what, target.to_str().unwrap()]].concat();
        (rustix::process::geteuid().is_root() && run("mount", &arguments)).then_some(mount)
    }

    fn tmpfs(size: &str) -> Option<Self> {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={size}")], "tmpfs")
    }

    /// A file system in a sparse file. The file goes with `image`.
    fn image(image: &Path, megabytes: u64, make: &[&str]) -> Option<Self> {
        fs::File::create(image).unwrap().set_len(megabytes << 20).unwrap();
        let file = image.to_str().unwrap();
        run(make[0], &[&make[1..], &[file]].concat()).then(|| Self::new(&["-o", "loop"], file))?
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn remount(&self, how: &str) {
        assert!(run("mount", &["-o", &format!("remount,{how}"), self.at().to_str().unwrap()]));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let target = self.at();
        // After a panic something may still be open; it must go all the same, or the directory cannot.
        let _ = run("umount", &[target.to_str().unwrap()]) || run("umount", &["--lazy", target.to_str().unwrap()]);
    }
}

#[test]
fn xfs_shares_blocks() {
    let files = tempfile::tempdir().unwrap();
    let image = files.path().join("xfs");
    let Some(mount) = Mount::image(&image, 400, &["mkfs.xfs", "-q", "-m", "reflink=1"]) else {
        return eprintln!("skipped: no XFS can be mounted here");
    };
    assert!(probe_reflink(&mount.at()));
    assert_eq!(count(&mount.at()), 0, "the probe leaves nothing");
    let store = home_with_template(&mount.at().join("home"));
    let made =
        store.create_root(&name("main"), id(1), MAJOR, |data| fs::write(data.join("big"), vec![9; 64 << 20])).unwrap();
    assert_eq!(made.cloned.method, CloneMethod::Reflink);
    let free = || nap_store::space::space(&mount.at()).unwrap().free_bytes;
    let before = free();
    let clone = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    assert_eq!(clone.cloned.method, CloneMethod::Reflink);
    assert!(clone.cloned.bytes > Some(64 << 20));
    assert!(before - free() < 8 << 20, "64 MB were copied");

    // They part at the first write.
    fs::write(clone.branch.dir.data().join("PG_VERSION"), "18\n").unwrap();
    assert_eq!(fs::read(made.branch.dir.data().join("PG_VERSION")).unwrap(), b"17\n");

    // What cannot be reflinked is never done otherwise in silence.
    let other = tempfile::tempdir().unwrap();
    assert!(clone_by(&clone.branch.dir.data(), other.path(), CloneMethod::Reflink).is_err());
}

fn names_in(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// The subvolumes of a mount.
fn subvolumes(mount: &Mount) -> usize {
    let list = Command::new("btrfs").args(["subvolume", "list"]).arg(mount.at()).output().unwrap();
    list.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()
}

#[test]
fn btrfs_takes_snapshots() {
    let files = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::image(&files.path().join("btrfs"), 600, &["mkfs.btrfs", "-q"]) else {
        return eprintln!("skipped: no btrfs can be mounted here");
    };
    assert!(probe_snapshot(&mount.at()));
    assert_eq!((count(&mount.at()), subvolumes(&mount)), (0, 0), "the probe leaves nothing");
    let store = home_with_template(&mount.at().join("home"));
    let made =
        store.create_root(&name("main"), id(1), MAJOR, |data| fs::write(data.join("big"), vec![9; 64 << 20])).unwrap();
    assert_eq!(made.cloned.method, CloneMethod::Reflink, "a template is no branch");
    let main = made.branch.dir;
    for own in ["pg_hba.conf", "roles", "kept", "log/postgres.log"] {
        fs::write(main.root.join(own), "its own").unwrap();
    }
    fs::write(main.data().join("postmaster.pid"), "1").unwrap();
    fs::write(main.data().join("pg_replslot/state"), "1").unwrap();
    for spilt in ["base/pgsql_tmp/pgsql_tmp7.0", "pg_dynshmem/mmap.1"] {
        fs::create_dir_all(main.data().join(spilt).parent().unwrap()).unwrap();
        fs::write(main.data().join(spilt), "of a query").unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(main.data().join("socket")).unwrap();
    let free = || nap_store::space::space(&mount.at()).unwrap().free_bytes;
    let before = free();
    let clone = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    assert_eq!(clone.cloned.method, CloneMethod::Snapshot);
    assert!(before - free() < 8 << 20, "64 MB were copied");
    let dev = clone.branch.dir;
    assert_eq!(names_in(&dev.root), ["branch.toml", "data", "discarded", "log", "pg_hba.conf", "roles", "tablespaces"]);
    assert_eq!((count(&dev.log_dir()), count(&dev.discarded())), (0, 0));
    for left_out in
        ["postmaster.pid", "pg_replslot/state", "socket", "base/pgsql_tmp/pgsql_tmp7.0", "pg_dynshmem/mmap.1"]
    {
        assert!(dev.data().join(left_out).symlink_metadata().is_err(), "{left_out}");
    }
    for file in KEPT {
        assert_eq!(fs::read(dev.data().join(file)).unwrap(), fs::read(main.data().join(file)).unwrap(), "{file}");
    }
    fs::write(dev.data().join("PG_VERSION"), "18\n").unwrap();
    assert_eq!(fs::read(main.data().join("PG_VERSION")).unwrap(), b"17\n");

    // Its past: a snapshot of its files, and its log by second links, which go to no clone.
    store.take_snapshot(&name("dev")).unwrap().unwrap();
    let history = store.history(&name("dev")).unwrap();
    assert_eq!((history.snapshots.len(), history.segments), (1, 1));
    assert_eq!(subvolumes(&mount), 3);
    let grandchild = store.clone_branch(&name("dev"), &name("grandchild"), id(3)).unwrap();
    assert_eq!(grandchild.cloned.method, CloneMethod::Snapshot);
    assert_eq!(
        store.history(&name("grandchild")).unwrap(),
        nap_store::History { end: history.end, ..Default::default() }
    );
    // It came along all the same, and is deleted later. What is not deleted yet goes on to a child, which has its parent's as well.
    store.take_snapshot(&name("grandchild")).unwrap().unwrap();
    let child = store.clone_branch(&name("grandchild"), &name("child"), id(4)).unwrap();
    assert_eq!(count(&child.branch.dir.discarded()), 4, "the log and the places of snapshots, of both");
    assert_eq!(count(&grandchild.branch.dir.discarded()), 2);
    assert!(store.drop_discarded(&name("child")).unwrap());
    assert_eq!(count(&child.branch.dir.discarded()), 0);
    assert!(!store.drop_discarded(&name("child")).unwrap());
    assert_eq!(count(&grandchild.branch.dir.discarded()), 2, "the parent's is its own");
    let snapshots = grandchild.branch.dir.root.join("snapshots");
    let of_first = snapshots.join(&names_in(&snapshots)[0]).join("discarded");
    assert!(count(&of_first) > 0, "its first snapshot has it, too");
    assert!(store.drop_discarded(&name("grandchild")).unwrap());
    assert_eq!(count(&of_first), 0);
    for branch in ["child", "grandchild", "dev", "main"] {
        store.discard(&store.remove(&name(branch), false).unwrap().1);
    }
    assert_eq!(subvolumes(&mount), 0);
    assert_eq!(count(&store.home().trash()), 0);
}

/// What lies in a subvolume of its own, or on a file system of its own, is not in a snapshot.
#[test]
fn no_snapshot_without_everything() {
    let files = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::image(&files.path().join("btrfs"), 600, &["mkfs.btrfs", "-q"]) else {
        return eprintln!("skipped: no btrfs can be mounted here");
    };
    let store = home_with_template(&mount.at().join("home"));
    let main = store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap().branch.dir;
    let (inner, before) = (main.data().join("base/5"), main.data().join("before"));
    fs::rename(&inner, &before).unwrap();
    assert!(run("btrfs", &["subvolume", "create", inner.to_str().unwrap()]));
    fs::copy(before.join("16384"), inner.join("16384")).unwrap();
    let clone = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    assert_eq!(clone.cloned.method, CloneMethod::Reflink);
    assert_eq!(fs::read(clone.branch.dir.data().join("base/5/16384")).unwrap(), vec![7; 100_000]);
    // The clone has an ordinary directory there.
    let again = store.clone_branch(&name("dev"), &name("again"), id(3)).unwrap();
    assert_eq!(again.cloned.method, CloneMethod::Snapshot);

    // What is to be kept under another name is so once only.
    fs::write(again.branch.dir.root.join("kept.toml"), "").unwrap();
    let other = store.clone_branch(&name("again"), &name("other"), id(4)).unwrap();
    assert_eq!(other.cloned.method, CloneMethod::Reflink);

    std::os::unix::fs::symlink("/etc", main.data().join("pg_tblspc/1")).unwrap();
    let outside = clone.branch.dir.data().join("pg_tblspc/1");
    std::os::unix::fs::symlink("/etc", outside).unwrap();
    for (parent, child) in [("main", "b1"), ("dev", "b2")] {
        let refused = store.clone_branch(&name(parent), &name(child), id(9)).unwrap_err();
        assert!(matches!(refused, StoreError::LeadsOutside { .. }), "{parent}: {refused:?}");
    }
    assert_eq!(count(&store.home().staging()), 0);
}

/// Made before there were subvolumes, or copied here.
#[test]
fn a_directory_becomes_a_subvolume_with_its_reset() {
    let files = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::image(&files.path().join("btrfs"), 600, &["mkfs.btrfs", "-q"]) else {
        return eprintln!("skipped: no btrfs can be mounted here");
    };
    let store = home_with_template(&mount.at().join("home"));
    store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap();
    let dev = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap().branch.dir.root;
    let (before, plain) = (mount.at().join("before"), dev.to_str().unwrap());
    fs::rename(&dev, &before).unwrap();
    assert!(run("cp", &["-a", before.to_str().unwrap(), plain]));
    fs::remove_dir_all(&before).unwrap();
    assert_eq!(subvolumes(&mount), 1);
    let child = store.clone_branch(&name("dev"), &name("child"), id(3)).unwrap();
    assert_eq!(child.cloned.method, CloneMethod::Reflink);
    let grandchild = store.clone_branch(&name("child"), &name("grandchild"), id(4)).unwrap();
    assert_eq!(grandchild.cloned.method, CloneMethod::Snapshot, "what is made here is a subvolume");
    store.take_snapshot(&name("dev")).unwrap().unwrap();

    let mut draft = store.draft_again(&name("dev")).unwrap();
    draft.clone_asleep().unwrap();
    let replaced = store.replace(draft, Some((name("kept"), id(5)))).unwrap();
    assert_eq!(replaced.cloned.method, CloneMethod::Snapshot);
    let again = store.clone_branch(&name("dev"), &name("again"), id(6)).unwrap();
    assert_eq!(again.cloned.method, CloneMethod::Snapshot);
    assert_eq!(store.history(&name("kept")).unwrap().snapshots.len(), 1, "its past went with it");
    for branch in ["again", "dev", "grandchild", "child", "kept", "main"] {
        store.discard(&store.remove(&name(branch), true).unwrap().1);
    }
    assert_eq!((subvolumes(&mount), count(&store.home().trash())), (0, 0));
}

#[test]
fn ext4_copies_and_says_so() {
    let files = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::image(&files.path().join("ext4"), 64, &["mkfs.ext4", "-q"]) else {
        return eprintln!("skipped: no ext4 can be mounted here");
    };
    assert!(!probe_reflink(&mount.at()));
    let store = home_with_template(&mount.at().join("home"));
    let made = store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap();
    assert_eq!(made.cloned.method, CloneMethod::Copy);
    for file in KEPT {
        assert!(made.branch.dir.data().join(file).is_file(), "{file}");
    }
    full_disk(&store, 40 << 20);
}

#[test]
fn a_full_tmpfs_leaves_nothing_half_made() {
    let Some(mount) = Mount::tmpfs("4m") else { return eprintln!("skipped: no tmpfs can be mounted here") };
    let store = home_with_template(&mount.at().join("home"));
    store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap();
    full_disk(&store, 2 << 20);
}

/// A branch with a file that fits once but not twice.
fn full_disk(store: &Store, bytes: usize) {
    let main = store.branch(&name("main")).unwrap();
    fs::write(main.dir.data().join("big"), vec![9; bytes]).unwrap();
    let error = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace(_)), "{error:?}");
    assert!(error.hint().is_some());
    assert_eq!(count(&store.home().staging()), 0);
    assert_eq!(store.branches().unwrap().whole.len(), 1);
    // And there is a way out.
    fs::remove_file(main.dir.data().join("big")).unwrap();
    let dev = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    let filler = dev.branch.dir.data().join("filler");
    assert!(std::io::copy(&mut std::io::repeat(1), &mut fs::File::create(filler).unwrap()).is_err());
    // A block may have come free again: the new record is there or the old one, and no third.
    let changes = Changes { settings: vec![("sleep_after", Some("1s".to_owned()))], ..Changes::default() };
    match store.change(&name("dev"), &changes) {
        Ok(changed) => assert_eq!(store.branch(&name("dev")).unwrap().record, changed),
        Err(StoreError::NoSpace(_)) => assert_eq!(store.branch(&name("dev")).unwrap(), dev.branch),
        Err(other) => panic!("{other:?}"),
    }
    store.discard(&store.remove(&name("dev"), false).unwrap().1);
    assert_eq!(count(&store.home().trash()), 0);
}

#[test]
fn a_read_only_home_is_named_as_such() {
    let Some(mount) = Mount::tmpfs("8m") else { return eprintln!("skipped: no tmpfs can be mounted here") };
    let root = mount.at().join("home");
    let store = home_with_template(&root);
    store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap();
    mount.remount("ro");
    let home = Home::at(root);
    make_home(&home).unwrap();
    let Err(LockError::Store(StoreError::ReadOnly(_))) = HomeLock::acquire(&home) else { panic!("locked") };
    let failures = [
        store.create_root(&name("two"), id(2), MAJOR, no_fill).unwrap_err(),
        store.clone_branch(&name("main"), &name("two"), id(2)).unwrap_err(),
        store.remove(&name("main"), false).unwrap_err(),
        make_home(&Home::at(mount.at().join("new"))).unwrap_err(),
    ];
    for error in failures {
        assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
    }
    assert!(nap_store::space::space(&mount.at()).unwrap().read_only);
    mount.remount("rw");
    store.discard(&store.remove(&name("main"), false).unwrap().1);
}
