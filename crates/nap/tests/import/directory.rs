//! Data directories whose server is down.

use nap_testkit::{Disk, TestHome, is_root};

use super::{Cluster, as_role, home, nothing_is_left};

const MD5: &str = "set password_encryption = 'md5'; create role al login password 'x'";

#[test]
fn a_data_directory_becomes_a_branch_and_stays_as_it_was() {
    let home = home();
    let cluster = Cluster::new(home.install());
    cluster
        .append("postgresql.conf", "port = 1\ninclude_dir = 'more.d'\narchive_mode = on\narchive_command = 'exit 1'\n");
    std::fs::create_dir(cluster.data().join("more.d")).unwrap();
    cluster.append("more.d/own.conf", "work_mem = '7MB'\nssl = off\n");
    cluster.start();
    cluster.psql(MD5).ok();
    cluster.psql("create table t as select 42 as n").ok();
    cluster.psql("select pg_create_physical_replication_slot('someone')").ok();
    cluster.psql("alter system set listen_addresses = '*'").ok();
    // With archiving that fails a fast shutdown would wait.
    cluster.psql("alter system set archive_command = '/bin/true'").ok();
    cluster.psql("select pg_reload_conf()").ok();
    cluster.stop("fast");
    let before = cluster.digest();
    let imported = home.nap(&["import", cluster.data().to_str().unwrap(), "copy"]);
    let said = imported.ok();
    assert!(said.contains("stored as md5") && said.contains(": al\n"), "{said}");
    assert!(said.contains("archive_command, archive_mode, listen_addresses, port, ssl"), "{said}");
    assert!(said.contains("its own pg_hba.conf"), "{said}");
    assert!(said.contains("postgresql://boss@localhost"), "the home's first role is not there: {said}");
    let stranger = as_role(&home, "stranger", "postgres@copy", "select 1");
    assert!(stranger.fails_with(2).contains("stranger"), "{stranger}");
    assert_eq!(home.state("copy"), "asleep", "its roles are known: nobody is let in to find that out");
    let ask = |sql: &str| as_role(&home, "boss", "postgres@copy", sql).ok().to_owned();
    assert_eq!(ask("select n from t"), "42");
    assert_eq!(ask("show work_mem"), "7MB");
    assert_eq!(ask("show archive_mode"), "off");
    assert_eq!(ask("select count(*) from pg_replication_slots"), "0");
    ask("insert into t values (1)");
    assert_eq!(home.branch("copy").unwrap()["parent"], serde_json::Value::Null);
    assert_eq!(cluster.digest(), before, "the original is untouched");
    assert_eq!(cluster.start().psql("select count(*) from t").ok(), "1");
    // What a daemon takes on at its start holds too.
    home.nap(&["down"]).ok();
    home.up();
    assert_eq!(as_role(&home, "boss", "postgres@copy", "select count(*) from t").ok(), "2");
}

#[test]
fn one_that_crashed_recovers() {
    let home = home();
    let cluster = Cluster::new(home.install());
    cluster.start().psql("create table t as select 42 as n").ok();
    cluster.stop("immediate");
    let before = cluster.digest();
    let imported = home.nap(&["import", cluster.data().to_str().unwrap(), "copy"]);
    assert!(imported.ok().contains("has recovered"), "{imported}");
    assert_eq!(as_role(&home, "boss", "postgres@copy", "select n from t").ok(), "42");
    assert_eq!(cluster.digest(), before);
}

#[test]
fn one_that_runs_is_refused_and_named() {
    let home = home();
    let cluster = Cluster::new(home.install());
    cluster.start();
    let refused = home.nap(&["import", cluster.data().to_str().unwrap(), "copy"]);
    let said = refused.fails_with(1);
    assert!(said.contains("is in use by PID") && said.contains("--cluster"), "{said}");
    nothing_is_left(&home, "copy");
}

#[test]
fn what_cannot_be_taken_is_refused_with_its_reason() {
    let home = home();
    let cluster = Cluster::new(home.install());
    let data = cluster.data();
    let import = || home.nap(&["import", data.to_str().unwrap(), "copy"]);
    cluster.append("standby.signal", "");
    assert!(import().fails_with(1).contains("is a standby"), "{}", import());
    std::fs::remove_file(data.join("standby.signal")).unwrap();

    cluster.append("pg_hba.conf", "# a comment\nhost all all 10.0.0.0/8 password\nlocal all all peer map=no-such\n");
    let lines = std::fs::read_to_string(data.join("pg_hba.conf")).unwrap().lines().count();
    let refused = import();
    let said = refused.fails_with(1);
    assert!(
        said.contains(&format!("pg_hba.conf:{}: ", lines - 1)) && said.contains("\"password\" is not supported"),
        "{said}"
    );
    assert!(said.contains("--ignore-hba"), "{said}");
    nothing_is_left(&home, "copy");

    home.nap(&["import", "--ignore-hba", data.to_str().unwrap(), "copy"]).ok();
    assert!(!home.path().join("branches/copy/pg_hba.conf").exists(), "the home's rules hold");

    assert!(import().fails_with(1).contains("exists already"));
    let none = home.nap(&["import", "/tmp", "other"]);
    assert!(none.fails_with(1).contains("is no data directory"), "{none}");
    if is_root() {
        let base = cluster.base.path();
        std::os::unix::fs::chown(base, Some(0), Some(0)).unwrap();
        std::fs::set_permissions(base, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let denied = home.nap(&["import", data.to_str().unwrap(), "other"]);
        assert!(denied.fails_with(1).contains("the daemon runs as user postgres, who may not"), "{denied}");
        std::fs::set_permissions(base, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::write(data.join("PG_VERSION"), "9.6\n").unwrap();
    let old = home.nap(&["import", data.to_str().unwrap(), "other"]);
    assert!(old.fails_with(1).contains("is of PostgreSQL 9.6"), "{old}");
}

#[test]
fn it_shares_its_blocks_where_the_file_system_can_and_has_a_history_then() {
    let Some(disk) = Disk::xfs(2_048) else { return };
    let home =
        TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").below(&disk.path()).build();
    home.up();
    let cluster = Cluster::below(home.install(), &disk.path());
    cluster.start().psql("create table t as select 42 as n").ok();
    cluster.stop("fast");
    let imported = home.nap(&["import", cluster.data().to_str().unwrap(), "copy"]);
    assert!(imported.ok().contains("sharing their blocks"), "{imported}");
    as_role(&home, "boss", "postgres@copy", "insert into t values (1)").ok();
    home.sleep("copy");
    home.nap(&["branch", "child", "--from", "copy"]).ok();
    assert_eq!(as_role(&home, "boss", "postgres@child", "select count(*) from t").ok(), "2", "the rules go on");
    drop(cluster);
    drop(home);
}

/// As pg_basebackup leaves it: without its backup_label it would be a broken cluster.
#[test]
fn a_base_backup_is_a_data_directory_too() {
    let home = home();
    let cluster = Cluster::new(home.install());
    cluster.start().psql("create table t as select 42 as n").ok();
    let backup = cluster.base.path().join("backup");
    let mut program = nap_testkit::as_server_user(cluster.install.program("pg_basebackup"));
    program.args(["-U", "boss", "-h"]).arg(cluster.base.path()).args(["-p", &cluster.port().to_string(), "-D"]);
    nap_testkit::Output::of(program.arg(&backup)).ok();
    cluster.psql("checkpoint").ok();
    let imported = home.nap(&["import", backup.to_str().unwrap(), "copy"]);
    imported.ok();
    assert_eq!(as_role(&home, "boss", "postgres@copy", "select n from t").ok(), "42");
    assert!(home.data("copy").join("backup_label.old").exists(), "recovery began where it must");
}
