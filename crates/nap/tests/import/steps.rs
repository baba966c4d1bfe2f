//! The daemon, or a program that works for it, dies at every step of an import and of an export.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use nap_testkit::walk::nothing_is_left_over;
use nap_testkit::{Beside, Disk, TestHome, Walk, eventually, give_to_server_user, process};

use super::{Cluster, as_role};

pub(super) fn home_on(disk: &Disk) -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).faults().below(&disk.path());
    let home = home.setting("sleep_after", "\"10min\"").setting("history", "\"0s\"").build();
    home.up();
    home
}

pub(super) fn filled(home: &TestHome) -> Cluster {
    let cluster = Cluster::new(home.install());
    cluster.start().psql("create table t as select n from generate_series(1, 1000) n").ok();
    cluster
}

/// What was imported is whole, or not there.
pub(super) fn is_whole(home: &TestHome, role: &str) -> bool {
    if home.branch("copy").is_none() {
        return false;
    }
    assert_eq!(as_role(home, role, "postgres@copy", "select count(*) from t").ok(), "1000");
    true
}

pub(super) fn remove(home: &TestHome) {
    if home.branch("copy").is_some() {
        home.nap(&["rm", "copy", "--force"]).ok();
    }
}

#[test]
fn slow_a_directory_is_imported() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home_on(&disk);
    let cluster = filled(&home);
    cluster.stop("immediate");
    let before = cluster.digest();
    let places = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["import", cluster.data().to_str().unwrap(), "copy"],
        look: &mut |home| is_whole(home, "boss"),
        undo: &mut remove,
    }
    .through();
    assert!(places.iter().any(|place| place == "a server aside is ready"), "{places:?}");
    assert_eq!(cluster.digest(), before);
}

#[test]
fn slow_a_running_cluster_is_imported() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home_on(&disk);
    let cluster = filled(&home);
    let url = format!("postgresql://boss@127.0.0.1:{}/", cluster.port());
    let places = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["import", "--cluster", &url, "copy"],
        look: &mut |home| is_whole(home, "boss"),
        undo: &mut remove,
    }
    .through();
    assert!(places.iter().any(|place| place == "pg_basebackup"), "{places:?}");
    let left = "select count(*) from pg_replication_slots";
    eventually("no slot is left there", || (cluster.psql(left).ok() == "0").then_some(()));
}

#[test]
fn slow_a_database_is_imported() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home_on(&disk);
    let cluster = filled(&home);
    let url = format!("postgresql://boss@127.0.0.1:{}/postgres", cluster.port());
    let role = known_there(&home, &cluster);
    let places = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["import", &url, "copy"],
        look: &mut |home| is_restored(home, &role),
        undo: &mut remove,
    }
    .through();
    for place in ["pg_dump", "pg_restore", "a database was restored"] {
        assert!(places.iter().any(|come_to| come_to == place), "{place}: {places:?}");
    }
}

/// The home's own role, which a cluster knows too.
pub(super) fn known_there(home: &TestHome, cluster: &Cluster) -> String {
    let role = home.role();
    cluster.psql(&format!("create role \"{role}\" superuser login")).ok();
    role
}

/// The database is whole, or not there. The home's rules hold, by which boss would need a password.
pub(super) fn is_restored(home: &TestHome, role: &str) -> bool {
    home.branch("copy").is_some_and(|_| {
        let socket = home.socket_connection("postgres@copy", role);
        assert_eq!(home.psql_with(&socket, "select count(*) from t").ok(), "1000");
        true
    })
}

/// A directory that the daemon may write to.
pub(super) fn outside(home: &TestHome) -> PathBuf {
    let path = home.beside().join("out");
    std::fs::create_dir(&path).unwrap();
    give_to_server_user(&path);
    path
}

/// What is there is the export, or nothing.
pub(super) fn is_there(out: &Path, name: &str) -> bool {
    let found: Vec<_> = std::fs::read_dir(out).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(found.iter().all(|found| found == name), "beside it: {found:?}");
    !found.is_empty()
}

#[test]
fn slow_a_branch_in_use_is_exported() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home_on(&disk);
    let out = outside(&home);
    home.psql("postgres@main", "create table t as select n from generate_series(1, 1000) n").ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let session = RefCell::new(None);
    let to = out.join("there");
    let places = Walk {
        home: &home,
        prepare: &mut |home| {
            let client = runtime.block_on(home.connect("postgres@main"));
            runtime.block_on(client.batch_execute("begin; select pg_current_xact_id()")).unwrap();
            *session.borrow_mut() = Some(client);
        },
        command: &["export", "main", to.to_str().unwrap()],
        look: &mut |home| {
            session.borrow_mut().take();
            assert_eq!(home.psql("postgres@main", "select count(*) from t").ok(), "1000");
            let is_there = is_there(&out, "there");
            assert!(!is_there || to.join("PG_VERSION").exists() && !to.join("postmaster.pid").exists());
            is_there
        },
        undo: &mut |_| std::fs::remove_dir_all(&to).unwrap_or_default(),
    }
    .through();
    assert!(places.iter().any(|place| place == "an export has left"), "{places:?}");
}

#[test]
fn slow_a_database_is_exported() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home_on(&disk);
    let out = outside(&home);
    home.psql("postgres@main", "create table t as select n from generate_series(1, 1000) n").ok();
    let to = out.join("t.sql");
    let places = Walk {
        home: &home,
        prepare: &mut |_| {},
        command: &["export", "postgres@main", to.to_str().unwrap()],
        look: &mut |home| {
            assert_eq!(home.psql("postgres@main", "select count(*) from t").ok(), "1000");
            is_there(&out, "t.sql") && std::fs::read_to_string(&to).unwrap().contains("\n1000\n")
        },
        undo: &mut |_| std::fs::remove_file(&to).unwrap_or_default(),
    }
    .through();
    assert!(places.iter().any(|place| place == "pg_dump"), "{places:?}");
}

/// The programs die that do the daemon's work: it says so, nothing is left, and the next time it goes well.
#[test]
fn a_program_that_is_killed_is_told_and_leaves_nothing() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = home_on(&disk);
    let cluster = filled(&home);
    let url = format!("postgresql://boss@127.0.0.1:{}/postgres", cluster.port());
    let staging = home.path().join("staging").display().to_string();
    let cases: [(&[&str], &str, &str); 4] = [
        (&["import", "--cluster", &url, "copy"], "pg_basebackup", "pg_basebackup"),
        (&["import", &url, "copy"], "pg_dump", "pg_dump"),
        (&["import", "--cluster", &url, "copy"], "a server aside begins", "postgres"),
        (&["import", "--cluster", &url, "copy"], "a server aside is ready", "postgres"),
    ];
    for (command, place, program) in cases {
        home.faults().hold_at(place);
        let import = Beside::begin(home.nap_command(command));
        let held = home.faults().wait_held(place);
        let is_it = |pid: &i32| {
            let line = process::command_line(*pid);
            let words_fit = line.first().is_some_and(|first| first.ends_with(&format!("/{program}")));
            words_fit && line.iter().any(|word| word.contains(&staging))
        };
        // It may be done already, as small as the cluster is; then there is nobody to kill.
        let found: Vec<i32> =
            process::everything().into_iter().filter(|pid| process::is_alive(*pid)).filter(is_it).collect();
        found.iter().for_each(|pid| process::kill9(*pid));
        drop(held);
        let said = import.end();
        assert!(said.succeeded() == found.is_empty(), "{place}: {found:?}: {said}");
        assert!(program != "postgres" || !found.is_empty(), "a server runs until it is ended");
        if !said.succeeded() {
            assert!(home.branch("copy").is_none() && said.stderr.contains("error: "), "{place}: {said}");
        }
        remove(&home);
        nothing_is_left_over(&home);
        home.nap(command).ok();
        remove(&home);
    }
}
