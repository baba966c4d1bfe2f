//! Branches: made, cloned, changed, removed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::disallowed_methods, missing_docs)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use nap_model::lsn::Lsn;
use nap_store::{BranchDir, Changes, CloneMethod, Home, Store, StoreError, make_home};

#[path = "../src/fixture.rs"]
mod fixture;
use fixture::{CHECKPOINT, KEPT, MAJOR, RUNNING, count, home_with_template, id, name, no_fill, pg_control};

fn store_with_main() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = home_with_template(root.path());
    store.create_root(&name("main"), id(1), MAJOR, no_fill).unwrap();
    (root, store)
}

#[test]
fn a_root_is_filled_before_it_shows() {
    let root = tempfile::tempdir().unwrap();
    let store = home_with_template(root.path());
    let made = store
        .create_root(&name("main"), id(1), MAJOR, |data| {
            assert!(store.branches().unwrap().whole.is_empty());
            fs::write(data.join("filled"), "")
        })
        .unwrap();
    assert_eq!(store.branch(&name("main")).unwrap(), made.branch);
    assert!(made.branch.dir.data().join("filled").exists());
    assert_eq!(fs::metadata(made.branch.dir.data()).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(store.create_root(&name("main"), id(2), MAJOR, no_fill), Err(StoreError::Exists(_))));
}

#[test]
fn a_failed_fill_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let store = home_with_template(root.path());
    let error = store.create_root(&name("main"), id(1), MAJOR, |_| Err("the SQL was bad")).unwrap_err();
    assert_eq!(error.to_string(), "the SQL was bad");
    assert!(store.branches().unwrap().whole.is_empty());
    assert_eq!(count(&store.home().staging()), 0);
}

#[test]
fn a_clone_has_its_parents_files_but_not_its_servers() {
    let (_root, store) = store_with_main();
    let parent = store.branch(&name("main")).unwrap();
    fs::write(parent.dir.roles(), "{}").unwrap();
    let made = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    let data = made.branch.dir.data();
    for file in KEPT {
        let (of_parent, own) = (parent.dir.data().join(file), data.join(file));
        assert_eq!(fs::read(&of_parent).unwrap(), fs::read(&own).unwrap(), "{file}");
        assert_eq!(fs::metadata(of_parent).unwrap().permissions(), fs::metadata(own).unwrap().permissions(), "{file}");
    }
    for gone in ["postmaster.pid", "postmaster.opts", "backup_label", "global/pg_internal.init", "base/pgsql_tmp"] {
        assert!(!data.join(gone).exists(), "{gone}");
    }
    assert!(!data.join("base/5/pg_internal.init.42").exists());
    assert_eq!(count(&data.join("pg_replslot")), 0);
    assert_eq!(count(&data.join("pg_wal/archive_status")), 0);
    assert_eq!(made.cloned.files, KEPT.len() as u64);
    assert_eq!(made.cloned.bytes, Some(3 + 8192 + 100_000 + 65_536));
    assert_eq!(made.branch.record.parent, Some(name("main")));
    assert_eq!(made.branch.record.branched_at, Some(Lsn(CHECKPOINT)));
    assert_eq!(fs::read(made.branch.dir.roles()).unwrap(), b"{}");
}

#[test]
fn a_parent_that_was_not_shut_down_is_refused() {
    let (_root, store) = store_with_main();
    fs::write(store.home().branch(&name("main")).data().join("global/pg_control"), pg_control(RUNNING)).unwrap();
    let error = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap_err();
    assert!(matches!(error, StoreError::NotAsleep(_)), "{error}");
}

#[test]
fn links_out_of_the_data_directory_are_refused_by_name() {
    let (root, store) = store_with_main();
    let elsewhere = root.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let data = store.home().branch(&name("main")).data();
    fs::write(root.path().join("server.crt"), "a certificate").unwrap();
    symlink(root.path().join("server.crt"), data.join("server.crt")).unwrap();
    symlink("PG_VERSION", data.join("inside")).unwrap();
    let made = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    assert_eq!(fs::read(made.branch.dir.data().join("server.crt")).unwrap(), b"a certificate");
    assert_eq!(fs::read_link(made.branch.dir.data().join("inside")).unwrap().to_str(), Some("PG_VERSION"));

    for target in [elsewhere, data.join("base"), "../../../elsewhere".into()] {
        symlink(&target, data.join("pg_tblspc/16400")).unwrap();
        let error = store.clone_branch(&name("main"), &name("two"), id(3)).unwrap_err();
        let words = format!("pg_tblspc/16400 leads out of the data directory, to {}", target.display());
        assert_eq!(error.to_string(), words);
        assert_eq!(count(&store.home().staging()), 0);
        fs::remove_file(data.join("pg_tblspc/16400")).unwrap();
    }
}

#[test]
fn a_parent_stays_while_it_has_children() {
    let (_root, store) = store_with_main();
    store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    assert_eq!(store.children(&name("main")).unwrap(), [name("dev")]);
    let error = store.remove(&name("main"), false).unwrap_err();
    assert_eq!(error.to_string(), "branch \"main\" has children: dev");
    assert_eq!(store.children(&name("dev")).unwrap(), []);
    store.discard(&store.remove(&name("dev"), false).unwrap().1);
    store.discard(&store.remove(&name("main"), false).unwrap().1);
    assert_eq!(count(&store.home().branches_dir()) + count(&store.home().trash()), 0);
    let error = store.remove(&name("main"), false).unwrap_err();
    assert_eq!(error.to_string(), "there is no branch \"main\"");
}

#[test]
fn an_unknown_branch_is_told_the_nearest() {
    let (_root, store) = store_with_main();
    let error = store.branch(&name("mian")).unwrap_err();
    assert_eq!(error.to_string(), "there is no branch \"mian\" (did you mean main?)");
}

#[test]
fn a_broken_record_does_not_hide_the_others() {
    let (_root, store) = store_with_main();
    for (number, text) in [(2, "name = "), (3, "unknown = 1"), (4, "")] {
        let branch = store.create_root(&name(&format!("b{number}")), id(number), MAJOR, no_fill).unwrap().branch;
        let record = fs::read_to_string(branch.dir.record()).unwrap();
        fs::write(branch.dir.record(), format!("{text}\n{record}")).unwrap();
    }
    fs::rename(store.home().branch(&name("b4")).root, store.home().branch(&name("moved")).root).unwrap();
    let branches = store.branches().unwrap();
    assert_eq!(branches.whole.iter().map(|b| b.record.name.as_str()).collect::<Vec<_>>(), ["main"]);
    assert_eq!(branches.broken.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["b2", "b3", "moved"]);
    assert!(branches.broken[2].error.to_string().contains("not its directory's name"));
    store.discard(&store.remove(&name("b2"), false).unwrap().1);
}

#[test]
fn a_setting_is_changed_and_comments_stay() {
    let (_root, store) = store_with_main();
    let dir = store.branch(&name("main")).unwrap().dir;
    let text = format!("# by hand\n{}", fs::read_to_string(dir.record()).unwrap());
    fs::write(dir.record(), text).unwrap();
    let set = |settings: &[(&'static str, Option<&str>)]| {
        let settings = settings.iter().map(|(name, value)| (*name, value.map(str::to_owned))).collect();
        store.change(&name("main"), &Changes { settings, ..Changes::default() })
    };
    let sleep_after = |value| set(&[("sleep_after", value)]).map(|record| record.settings.sleep_after);
    assert_eq!(sleep_after(Some("5min")).unwrap().unwrap().to_string(), "5min");
    assert_eq!(sleep_after(Some("never")).unwrap().unwrap().to_string(), "never");
    assert!(fs::read_to_string(dir.record()).unwrap().starts_with("# by hand\n"));
    let before = fs::read(dir.record()).unwrap();
    assert!(sleep_after(Some("soon")).is_err());
    assert!(sleep_after(Some("\"1s\"\nmajor = 3")).is_err());
    let unknown = set(&[("sleep_afer", Some("1s"))]).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no setting \"sleep_afer\" (did you mean sleep_after?)");
    assert!(matches!(set(&[("max_awake", Some("1"))]), Err(StoreError::NotPerBranch("max_awake"))));
    for late in ["soon", "\"1s\"\nmajor = 3"] {
        let both = [("sleep_after", Some("1s")), ("sleep_after", Some(late))];
        assert!(set(&both).is_err(), "all of them or none");
    }
    assert!(set(&[("sleep_after", Some("1s")), ("max_awake", Some("1"))]).is_err());
    assert_eq!(fs::read(dir.record()).unwrap(), before);
    assert_eq!(sleep_after(None).unwrap(), None);
    let at = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let changes = Changes { expires: Some(Some(at)), protected: Some(true), ..Changes::default() };
    let changed = store.change(&name("main"), &changes).unwrap();
    assert_eq!((changed.expires, changed.protected), (Some(at), true));
    assert_eq!(store.branch(&name("main")).unwrap().record, changed);
    let changes = Changes { expires: Some(None), protected: Some(false), ..Changes::default() };
    let changed = store.change(&name("main"), &changes).unwrap();
    assert_eq!((changed.expires, changed.protected), (None, false));
    assert!(fs::read_to_string(dir.record()).unwrap().starts_with("# by hand\n"));
}

#[test]
fn the_last_opener_sweeps_what_is_half_made() {
    let (root, store) = store_with_main();
    fs::create_dir_all(store.home().staging().join("x/data")).unwrap();
    let store = Store::open(Home::at(root.path().to_owned())).unwrap();
    assert_eq!(count(&store.home().staging()), 0);
    assert_eq!(store.empty_trash().unwrap(), 1);
}

#[test]
fn the_method_is_what_was_probed() {
    let (root, store) = store_with_main();
    let made = store.clone_branch(&name("main"), &name("dev"), id(2)).unwrap();
    let probed = nap_store::probe_reflink(root.path());
    assert_eq!(made.cloned.method, if probed { CloneMethod::Reflink } else { CloneMethod::Copy });
}

#[test]
fn a_store_needs_a_home() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::at(root.path().join("home"));
    assert!(matches!(Store::open(home.clone()), Err(StoreError::NoHome(_))));
    make_home(&home).unwrap();
    Store::open(home).unwrap();
}

#[test]
fn no_two_branches_share_an_id() {
    let (_root, store) = store_with_main();
    let error = store.create_root(&name("two"), id(1), MAJOR, no_fill).unwrap_err();
    assert_eq!(error.to_string(), "branch \"two\" would have the same id as \"main\"");
    assert_eq!(count(&store.home().staging()), 0);

    let (main, copied) = (store.home().branch(&name("main")), store.home().branch(&name("copied")));
    fs::create_dir(&copied.root).unwrap();
    let record = fs::read_to_string(main.record()).unwrap().replace("\"main\"", "\"copied\"");
    fs::write(copied.record(), record).unwrap();
    let branches = store.branches().unwrap();
    assert_eq!((branches.whole.len(), branches.broken.len()), (1, 1));

    fs::remove_dir_all(copied.root).unwrap();
    store.discard(&store.remove(&name("main"), false).unwrap().1);
    store.create_root(&name("two"), id(1), MAJOR, no_fill).unwrap();
}
