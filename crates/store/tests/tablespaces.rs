//! Tablespaces in a branch's own directory: they are its own, whatever becomes of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nap_store::{BranchDir, CloneMethod, Departure, Home, Store, StoreError, make_home, tablespaces};
use nap_testkit::Disk;

#[path = "../src/fixture.rs"]
mod fixture;
use fixture::{IN_TABLESPACE, MAJOR, count, home_with_template, id, in_tablespace, make_tablespace, name, no_fill};

/// Files of tablespaces whose directories are called as what no clone has.
const CALLED_ALIKE: [&str; 3] =
    ["pgsql_tmp/PG_17_202406281/5/16386", "pg_dynshmem/PG_17_202406281/5/16386", "pgsql_tmp_1/pgsql_tmp/mine"];

/// A home with `main`, whose tablespace says so.
fn with_tablespace(root: &Path) -> (Store, BranchDir) {
    let store = home_with_template(root);
    let main = store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap().branch.dir;
    assert_eq!(fs::metadata(main.tablespaces()).unwrap().permissions().mode() & 0o7777, 0o700);
    make_tablespace(&main, b"main");
    (store, main)
}

fn link(dir: &BranchDir) -> PathBuf {
    fs::read_link(dir.data().join("pg_tblspc/16384")).unwrap()
}

fn write(dir: &BranchDir, text: &str) {
    fs::write(dir.data().join("pg_tblspc/16384").join(IN_TABLESPACE.strip_prefix("fast/").unwrap()), text).unwrap();
}

#[test]
fn a_clone_has_its_own_by_every_method() {
    let plain = tempfile::tempdir().unwrap();
    let disks = [Disk::ext4(300), Disk::xfs(400), Disk::btrfs(400)];
    let places = disks.iter().flatten().map(Disk::path).chain([plain.path().to_owned()]);
    let mut methods = Vec::new();
    for place in places {
        let (store, main) = with_tablespace(&place.join("home"));
        for called_alike in CALLED_ALIKE {
            let path = main.tablespaces().join(called_alike);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "data").unwrap();
        }
        let made = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
        methods.push(made.cloned.method);
        let dev = made.branch.dir;
        assert_eq!(link(&dev), Path::new("../../tablespaces/fast"));
        assert!(!dev.tablespaces().join("fast/PG_17_202406281/pgsql_tmp/pgsql_tmp7.0").exists());
        for called_alike in CALLED_ALIKE {
            assert!(dev.tablespaces().join(called_alike).exists(), "{called_alike}: {methods:?}");
        }
        write(&dev, "dev");
        assert_eq!((in_tablespace(&main), in_tablespace(&dev)), (b"main".to_vec(), b"dev".to_vec()));
        write(&main, "main again");
        assert_eq!(in_tablespace(&dev), b"dev");

        let used = nap_store::disk_use(&dev, Instant::now() + Duration::from_secs(60)).unwrap().unwrap();
        fs::write(dev.tablespaces().join(IN_TABLESPACE).with_file_name("16390"), vec![7; 1 << 20]).unwrap();
        rustix::fs::sync();
        let more = nap_store::disk_use(&dev, Instant::now() + Duration::from_secs(60)).unwrap().unwrap();
        assert!(more.own_bytes - used.own_bytes >= 1 << 20, "{used:?} {more:?}");

        // As a server has it, and what is cloned from it then.
        tablespaces::make_absolute(&dev).unwrap();
        assert_eq!(link(&dev), dev.tablespaces().join("fast"));
        let grandchild = store.clone_branch(&name("dev"), &name("grandchild"), id(3)).unwrap().branch.dir;
        assert_eq!((link(&grandchild).is_relative(), in_tablespace(&grandchild)), (true, b"dev".to_vec()));
        let thrown_away = store.remove(&name("dev"), true).unwrap().1;
        store.discard(&thrown_away);
        assert_eq!(in_tablespace(&grandchild), b"dev");
        assert!(!dev.tablespaces().exists() && !thrown_away.exists());
    }
    if !disks.iter().any(Option::is_none) {
        assert_eq!(methods[..3], [CloneMethod::Copy, CloneMethod::Reflink, CloneMethod::Snapshot]);
    }
}

#[test]
fn what_leads_elsewhere_is_refused_by_name() {
    for disk in [Disk::xfs(400), Disk::btrfs(400)].into_iter().flatten() {
        let far = tempfile::tempdir().unwrap();
        let (store, main) = with_tablespace(&disk.path().join("home"));
        let refused = || {
            let error = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap_err();
            assert!(error.hint().unwrap().contains("branches/NAME/tablespaces"), "{error}");
            assert_eq!(count(&store.home().staging()), 0);
            error.to_string()
        };
        let outside = main.data().join("pg_tblspc/16400");
        let others = store.create_root(&name("other"), id(3), MAJOR, no_fill).unwrap().branch.dir.tablespaces();
        let climbs = main.tablespaces().join("../../other/tablespaces");
        let beside = main.root.join("tablespaces_of_mine");
        fs::create_dir(&beside).unwrap();
        for target in [far.path(), &others, &climbs, &beside, Path::new("../../../other/tablespaces")] {
            symlink(target, &outside).unwrap();
            let told = format!("pg_tblspc/16400 leads out of the data directory, to {}", target.display());
            assert_eq!(refused(), told);
            fs::remove_file(&outside).unwrap();
        }
        // A link in its own place leads elsewhere all the same.
        symlink(far.path(), main.tablespaces().join("far")).unwrap();
        assert!(refused().starts_with("tablespaces/far leads out of"));
        fs::remove_file(main.tablespaces().join("far")).unwrap();
        store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    }
}

/// By whichever path the home was named when the tablespace was made.
#[test]
fn a_home_has_many_names() {
    let root = tempfile::tempdir().unwrap();
    let alias = root.path().join("alias");
    drop(with_tablespace(&root.path().join("home")));
    symlink(root.path().join("home"), &alias).unwrap();
    let store = Store::open(Home::at(alias.clone())).unwrap();
    let dev = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap().branch.dir;
    assert_eq!(in_tablespace(&dev), b"main");
    tablespaces::make_absolute(&dev).unwrap();
    assert!(link(&dev).starts_with(&alias));
    drop(store);
    let store = Store::open(Home::at(root.path().join("home"))).unwrap();
    let again = store.clone_branch(&name("dev"), &name("again"), id(3)).unwrap().branch.dir;
    assert_eq!(in_tablespace(&again), b"main");
}

/// After a crash its links are whole paths still.
#[test]
fn a_home_that_was_moved_finds_what_came_along() {
    let root = tempfile::tempdir().unwrap();
    drop(with_tablespace(&root.path().join("before")));
    fs::rename(root.path().join("before"), root.path().join("now")).unwrap();
    let store = Store::open(Home::at(root.path().join("now"))).unwrap();
    let main = store.branch(&name("main")).unwrap().dir;
    tablespaces::make_absolute(&main).unwrap();
    assert_eq!((link(&main), in_tablespace(&main)), (main.tablespaces().join("fast"), b"main".to_vec()));
    // What is there still is nobody else's.
    let nowhere = root.path().join("branches/main/tablespaces/lost");
    symlink(&nowhere, main.data().join("pg_tblspc/16390")).unwrap();
    tablespaces::make_absolute(&main).unwrap();
    assert_eq!(fs::read_link(main.data().join("pg_tblspc/16390")).unwrap(), nowhere);
}

#[test]
fn a_branch_of_earlier_days_gets_a_place() {
    let (root, disk) = (tempfile::tempdir().unwrap(), Disk::btrfs(400));
    for place in disk.iter().map(Disk::path).chain([root.path().to_owned()]) {
        let store = home_with_template(&place.join("home"));
        let main = store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap().branch.dir;
        fs::remove_dir(main.tablespaces()).unwrap();
        let dev = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap().branch.dir;
        assert!(dev.tablespaces().is_dir());
        for _ in 0..2 {
            tablespaces::make_place(&main).unwrap();
            assert!(main.tablespaces().is_dir());
        }
    }
}

/// Somebody has mistaken one path for another.
#[test]
fn a_tablespace_of_another_branch_does_not_go_with_its_host() {
    let root = tempfile::tempdir().unwrap();
    let (store, main) = with_tablespace(&root.path().join("home"));
    let dev = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap().branch.dir;
    let place = dev.tablespaces().join("of-main");
    fs::create_dir(&place).unwrap();
    symlink(&place, main.data().join("pg_tblspc/16400")).unwrap();
    let reset = || {
        let mut draft = store.draft_of_itself(&name("dev")).unwrap();
        draft.clone_asleep().unwrap();
        store.replace(draft, None).map(drop)
    };
    type Deed<'a> = &'a dyn Fn() -> Result<(), StoreError>;
    let deeds: [(&str, Deed<'_>); 3] = [
        ("remove", &|| store.remove(&name("dev"), true).map(drop)),
        ("rename", &|| store.rename(&name("dev"), &name("other")).map(drop)),
        ("replace", &reset),
    ];
    for (deed, done) in deeds {
        let refused = done().unwrap_err();
        assert!(
            refused.to_string().starts_with("branch \"main\" has a tablespace in the directory of \"dev\": "),
            "{deed}: {refused}"
        );
        assert!(refused.hint().unwrap().contains("branches/main/tablespaces"), "{deed}");
        assert!(place.is_dir(), "{deed}");
    }
    fs::remove_file(main.data().join("pg_tblspc/16400")).unwrap();
    reset().unwrap();
    store.remove(&name("dev"), true).unwrap();
}

/// It went away with its tablespaces, and comes back.
#[test]
fn an_exported_cluster_has_them_in_it() {
    let root = tempfile::tempdir().unwrap();
    let (store, _) = with_tablespace(&root.path().join("home"));
    let to = root.path().join("exported");
    let mut draft = store.draft_of_itself(&name("main")).unwrap();
    draft.clone_asleep().unwrap();
    let departure = Departure::begin(store.home(), &to).unwrap();
    draft.depart(&departure, &[]).unwrap();
    drop(draft);
    departure.arrive().unwrap();
    let moved = root.path().join("moved");
    fs::rename(&to, &moved).unwrap();
    let file = moved.join("pg_tblspc/16384").join(IN_TABLESPACE.strip_prefix("fast/").unwrap());
    assert_eq!(fs::read(file).unwrap(), b"main");
    assert_eq!(fs::canonicalize(moved.join("pg_tblspc/16384")).unwrap(), moved.join("tablespaces/fast"));

    let other = root.path().join("other");
    make_home(&Home::at(other.clone())).unwrap();
    let store = Store::open(Home::at(other)).unwrap();
    let mut arrival = store.receive(&name("come"), id(7)).unwrap();
    arrival.copy(&moved).unwrap();
    let come = store.publish_arrival(arrival, MAJOR).unwrap().branch.dir;
    assert_eq!(in_tablespace(&come), b"main");
    assert!(!come.data().join("tablespaces").exists());
    let dev = store.clone_branch(&name("come"), &name("dev"), id(8)).unwrap().branch.dir;
    assert_eq!(in_tablespace(&dev), b"main");
}

/// It is a branch's past that has them too.
#[test]
fn a_snapshot_keeps_them_as_they_were() {
    for disk in [Disk::xfs(400), Disk::btrfs(400)].into_iter().flatten() {
        let (store, main) = with_tablespace(&disk.path().join("home"));
        let mut draft = store.draft_snapshot(&name("main"), &"kept".parse().unwrap()).unwrap();
        draft.clone_asleep().unwrap();
        store.keep_snapshot(draft, "kept".parse().unwrap()).unwrap();
        store.take_snapshot(&name("main")).unwrap().unwrap();
        write(&main, "later");
        let mut draft = store.draft(&name("main"), &name("then"), id(2)).unwrap();
        draft.clone_snapshot(&"kept".parse().unwrap()).unwrap();
        let then = store.publish(draft).unwrap().branch.dir;
        assert_eq!((in_tablespace(&then), in_tablespace(&main)), (b"main".to_vec(), b"later".to_vec()));
        for snapshot in fs::read_dir(main.root.join("snapshots")).unwrap() {
            let place = BranchDir { root: snapshot.unwrap().path() };
            assert_eq!((link(&place).is_relative(), in_tablespace(&place)), (true, b"main".to_vec()));
        }
    }
}

#[test]
fn a_link_in_place_of_the_place_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (store, main) = with_tablespace(&root.path().join("home"));
    fs::rename(main.tablespaces(), root.path().join("disk")).unwrap();
    symlink(root.path().join("disk"), main.tablespaces()).unwrap();
    let refused = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap_err();
    assert!(matches!(refused, StoreError::LeadsOutside { .. }), "{refused}");
}

/// Wherever they lay. Of what else lies there nothing comes.
#[test]
fn a_cluster_from_elsewhere_brings_its_tablespaces() {
    let root = tempfile::tempdir().unwrap();
    let (source, far) = (root.path().join("source"), root.path().join("far"));
    fs::create_dir(&source).unwrap();
    fixture::fill_cluster(&source).unwrap();
    for version in ["PG_17_202406281", "PG_16_202307071", "lost+found"] {
        fs::create_dir_all(far.join(version).join("5")).unwrap();
        fs::write(far.join(version).join("5/16385"), version).unwrap();
    }
    symlink(&far, source.join("pg_tblspc/16384")).unwrap();
    let store = home_with_template(&root.path().join("home"));
    let mut arrival = store.receive(&name("come"), id(7)).unwrap();
    arrival.copy(&source).unwrap();
    let come = store.publish_arrival(arrival, MAJOR).unwrap().branch.dir;
    assert_eq!(link(&come), Path::new("../../tablespaces/16384"));
    assert_eq!(fs::read(come.data().join("pg_tblspc/16384/PG_17_202406281/5/16385")).unwrap(), b"PG_17_202406281");
    assert_eq!(count(&come.tablespaces().join("16384")), 1);
    assert_eq!(fs::read_link(source.join("pg_tblspc/16384")).unwrap(), far, "it is only read");
    // From a branch of another home, as it lies there.
    let mut arrival = store.receive(&name("third"), id(9)).unwrap();
    arrival.copy(&come.data()).unwrap();
    let third = store.publish_arrival(arrival, MAJOR).unwrap().branch.dir;
    assert_eq!(fs::read(third.data().join("pg_tblspc/16384/PG_17_202406281/5/16385")).unwrap(), b"PG_17_202406281");
    // Nor does a link there lead anywhere.
    symlink("/etc", far.join("PG_17_202406281/5/16386")).unwrap();
    let mut arrival = store.receive(&name("again"), id(8)).unwrap();
    assert!(matches!(arrival.copy(&source).unwrap_err(), StoreError::LeadsOutside { .. }));
}
