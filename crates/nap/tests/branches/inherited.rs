//! What a branch has of its parent, and what it must not have.

use nap_testkit::TestHome;

use super::{builder, on_xfs};

fn prepare(home: &TestHome) {
    for setting in ["max_prepared_transactions = 5", "archive_mode = on", "archive_command = '/bin/false'"] {
        home.psql("postgres@main", &format!("alter system set {setting}")).ok();
    }
    home.psql("postgres@main", "alter system set synchronous_standby_names = 'nobody'").ok();
    home.nap(&["restart", "main"]).ok();
    // Nobody is there to confirm anything.
    let own = "set synchronous_commit = local;";
    home.psql("postgres@main", &format!("{own} create table t (n int)")).ok();
    home.psql("postgres@main", &format!("{own} begin; insert into t values (1); prepare transaction 'it''s prepared'"))
        .ok();
    home.psql("postgres@main", "select pg_create_physical_replication_slot('someone')").ok();
    home.psql(
        "postgres@main",
        &format!("{own} create subscription s connection 'host=/nowhere dbname=x' publication p with (connect = false, slot_name = 's')"),
    )
    .ok();
    home.psql("postgres@main", &format!("{own} alter subscription s enable")).ok();
}

fn check(home: &TestHome, branch: &str, made: &serde_json::Value) {
    assert_eq!(made["prepared_transactions"], serde_json::json!(["it's prepared"]), "{made}");
    assert_eq!(made["subscriptions_disabled"], 1, "{made}");
    let ask = |sql: &str| home.psql(&format!("postgres@{branch}"), sql).ok().to_owned();
    assert_eq!(ask("select subname, subenabled from pg_subscription"), "s|f");
    assert_eq!(ask("select count(*) from pg_replication_slots"), "0");
    assert_eq!(ask("select gid from pg_prepared_xacts"), "it's prepared");
    assert_eq!(ask("show archive_mode"), "off");
    // A commit waits for nobody.
    ask("commit prepared 'it''s prepared'");
    assert_eq!(ask("select n from t"), "1");
    assert_eq!(ask("show synchronous_standby_names"), "");
}

#[test]
fn a_branch_does_nothing_in_its_parents_place() {
    let home = builder().build();
    home.up();
    prepare(&home);
    let made = home.nap(&["--json", "branch", "dev"]).json();
    assert_eq!(made["parent_in_use"], true, "its subscription keeps it awake: {made}");
    check(&home, "dev", &made);

    home.nap(&["set", "main", "replication_guard=off"]).ok();
    home.sleep("main");
    let made = home.nap(&["--json", "branch", "calm"]).json();
    assert_eq!(made["parent_in_use"], false, "{made}");
    check(&home, "calm", &made);
    assert_eq!(home.psql("postgres@main", "select subenabled from pg_subscription").ok(), "t");
    let said = home.nap(&["branch", "third"]);
    assert!(said.ok().contains("prepared transactions, which keep their locks: it's prepared"), "{said:?}");
}

#[test]
fn nor_does_a_clone() {
    let Some(disk) = on_xfs() else { return };
    prepare(&disk.home);
    let made = disk.home.nap(&["--json", "branch", "dev"]).json();
    assert_eq!((made["parent_in_use"].as_bool(), made["method"].as_str()), (Some(true), Some("reflink")), "{made}");
    check(&disk.home, "dev", &made);
}

/// Debian's own configuration names its data directory.
#[test]
fn a_configuration_that_names_another_data_directory_leads_nowhere() {
    let home = builder().build();
    home.up();
    home.psql("postgres@main", "create table own as select 'parent' as of").ok();
    home.sleep("main");
    let data = home.data("main");
    let mut conf = std::fs::OpenOptions::new().append(true).open(data.join("postgresql.conf")).unwrap();
    use std::io::Write as _;
    writeln!(conf, "data_directory = '{0}'\nexternal_pid_file = '{0}/pid'", data.display()).unwrap();
    home.nap(&["branch", "dev"]).ok();
    let shown = home.psql("postgres@dev", "update own set of = 'branch' returning current_setting('data_directory')");
    assert!(shown.ok().starts_with(home.data("dev").to_str().unwrap()), "{shown:?}");
    assert_eq!(home.psql("postgres@main", "select of from own").ok(), "parent");
    assert_eq!(home.psql("postgres@dev", "show external_pid_file").ok(), "");
}

/// Recovery would make its link, and two servers would write to the same files.
#[test]
fn a_tablespace_that_is_made_meanwhile_is_refused() {
    let Some(disk) = on_xfs() else { return };
    let home = &disk.home;
    home.psql("postgres@main", "create table t (n int)").ok();
    home.sleep("main");
    let place = home.beside().join("ts");
    std::fs::create_dir(&place).unwrap();
    nap_testkit::give_to_server_user(&place);
    home.psql("postgres@main", &format!("create tablespace far location '{}'", place.display())).ok();
    home.psql("postgres@main", "create table kept tablespace far as select 1 as n").ok();
    for arguments in [&["branch", "dev"][..], &["branch", "dev", "--at", "-0s"], &["reset", "dev"]] {
        let refused = home.nap(arguments);
        assert!(refused.code == Some(1), "{refused:?}");
    }
    let refused = home.nap(&["branch", "dev", "--at", "-0s"]);
    assert!(refused.fails_with(1).contains("tablespace"), "{refused:?}");
    assert_eq!(home.psql("postgres@main", "select n from kept").ok(), "1");
}
