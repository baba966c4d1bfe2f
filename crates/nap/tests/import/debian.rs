//! Debian's clusters, and how Debian lists them.

use std::os::unix::fs::symlink;
use std::process::Command;

use nap_testkit::{Debian, Output, PortPair, as_server_user, is_root};

use super::home;

#[test]
fn a_cluster_of_debians_is_imported_by_its_name() {
    // 5432 is other tests' to take.
    let port = PortPair::free();
    let Some(debian) = Debian::create(&["-p", &port.port.to_string()]) else { return };
    let home = home();
    if debian.major() != home.install().major.to_string() {
        return;
    }
    let conf = debian.conf_directory();
    std::fs::write(conf.join("conf.d/own.conf"), "work_mem = '7MB'\n").unwrap();
    debian.start().ok();
    debian.psql("create table t as select 42 as n").ok();

    // While it runs, through its socket.
    let imported = home.nap(&["import", &debian.cluster(), "live"]);
    imported.ok();
    debian.stop().ok();
    let files = debian.files();
    let imported = home.nap(&["import", &debian.cluster(), "calm"]);
    let said = imported.ok();
    for off in ["data_directory", "external_pid_file", "hba_file", "port", "ssl", "unix_socket_directories"] {
        assert!(said.contains(off), "{off}: {said}");
    }
    // And by the path of its data, whose configuration lies in /etc.
    home.nap(&["import", debian.data().to_str().unwrap(), "path"]).ok();
    assert_eq!(debian.files(), files, "the original is untouched");
    for branch in ["live", "calm", "path"] {
        // Its own rules let only its own user in as its superuser.
        let mut psql = as_server_user(home.install().program("psql"));
        let door = home.path().join("run").join(branch);
        psql.args(["-XAt", "-U", "postgres", "-p", &home.port().to_string(), "-h"]).arg(door);
        let sql = "select n, current_setting('work_mem') from t";
        assert_eq!(Output::of(psql.args(["-d", "postgres", "-c", sql])).ok(), "42|7MB", "{branch}");
    }
    let refused = home.nap(&["import", "15/no-such", "other"]);
    assert!(refused.fails_with(1).contains("there is no cluster 15/no-such"), "{refused}");
}

/// The real pg_lsclusters, told that our branches are its clusters.
#[test]
fn the_list_is_what_pg_lsclusters_would_print() {
    if !is_root() || !std::path::Path::new("/usr/bin/pg_lsclusters").exists() {
        return;
    }
    let home = home();
    if !home.install().bin.starts_with("/usr/lib/postgresql") {
        return;
    }
    home.nap(&["branch", "a-longer-name"]).ok();
    home.sleep("a-longer-name");
    home.nap(&["wake", "main"]).ok();
    let version = home.install().major.to_string();
    let root = home.beside().join("etc");
    for branch in ["main", "a-longer-name"] {
        let conf = root.join(&version).join(branch);
        std::fs::create_dir_all(&conf).unwrap();
        let data = home.data(branch);
        // It asks the socket whether a server runs.
        let sockets = if branch == "main" { home.socket_directory() } else { root.clone() };
        let text = format!(
            "data_directory = '{}'\nport = {}\nunix_socket_directories = '{}'\n",
            data.display(),
            home.port(),
            sockets.display()
        );
        std::fs::write(conf.join("postgresql.conf"), text).unwrap();
        symlink(data.parent().unwrap().join("log/postgres.log"), conf.join("log")).unwrap();
    }
    for (ours, theirs) in [(&["ls", "--debian"][..], &[][..]), (&["ls", "--debian", "--no-header"], &["--no-header"])] {
        let mut pg_lsclusters = Command::new("/usr/bin/pg_lsclusters");
        pg_lsclusters.env("PG_CLUSTER_CONF_ROOT", &root);
        assert_eq!(home.nap(ours).stdout, Output::of(pg_lsclusters.args(theirs)).stdout);
    }
}
