//! Servers that run.

use nap_testkit::Install;

use super::{Cluster, home, nothing_is_left};

const SECRET: &str = "s3cr%t'x";

/// Everybody needs a password, but for its superuser on its socket.
fn guarded(install: &Install) -> Cluster {
    let cluster = Cluster::new(install);
    let rules = "local all boss trust\nlocal replication boss trust\nhost all all 127.0.0.1/32 scram-sha-256\n\
                 host replication all 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(cluster.data().join("pg_hba.conf"), rules).unwrap();
    cluster.start();
    let password = SECRET.replace('\'', "''");
    cluster.psql(&format!("create role al login replication password '{password}'")).ok();
    cluster.psql(&format!("alter role boss password '{password}'")).ok();
    cluster.psql("create database shop owner al").ok();
    cluster
}

fn uri(cluster: &Cluster, role: &str, database: &str) -> String {
    format!("postgresql://{role}:s3cr%25t'x@127.0.0.1:{}/{database}", cluster.port())
}

fn fill(cluster: &Cluster) {
    let port = cluster.port();
    let sql = "create table t as select 42 as n; alter table t owner to al";
    let mut psql = std::process::Command::new(cluster.install.program("psql"));
    psql.args(["-XqAt", "-d", "shop", "-U", "boss", "-p", &port.to_string(), "-c", sql, "-h"]).arg(cluster.base.path());
    nap_testkit::Output::of(&mut psql).ok();
}

#[test]
fn a_running_cluster_is_copied_with_its_roles_and_rules() {
    let home = home();
    let cluster = guarded(home.install());
    fill(&cluster);
    let imported = home.nap(&["import", "--cluster", &uri(&cluster, "boss", "shop"), "copy"]);
    assert!(imported.ok().contains("its own pg_hba.conf"), "{imported}");
    let asked = home.psql_with(
        &format!("postgresql://al:s3cr%25t'x@127.0.0.1:{}/shop@copy", home.port()),
        "select n, current_user from t",
    );
    assert_eq!(asked.ok(), "42|al", "with the password that it has there");
    assert_eq!(cluster.psql("select count(*) from pg_replication_slots").ok(), "0");

    // A role that may only replicate: the file came along.
    let imported = home.nap(&["import", &uri(&cluster, "al", ""), "second"]);
    assert!(imported.ok().contains("its own pg_hba.conf"), "{imported}");
    assert!(!home.daemon_log().contains("s3cr"), "no log names a password");

    let refused = home.nap(&["import", &format!("postgresql://al:no@127.0.0.1:{}/", cluster.port()), "third"]);
    assert!(refused.fails_with(1).contains("password authentication failed"), "{refused}");
    assert!(!refused.stderr.contains(":no@"), "{refused}");
    nothing_is_left(&home, "third");
}

#[test]
fn one_database_is_copied_with_its_roles() {
    let home = home();
    let cluster = guarded(home.install());
    fill(&cluster);
    // As where somebody else keeps the server, and all superusers.
    cluster.psql("create role postgres nologin").ok();
    let imported = home.nap(&["import", &uri(&cluster, "boss", "shop"), "copy"]);
    let said = imported.ok();
    assert!(said.contains("the rules of the home hold") && said.contains("/shop@copy"), "{said}");
    assert!(said.contains("the role postgres is a superuser here, and was none there"), "{said}");
    let asked = home.psql_with(
        &format!("postgresql://al:s3cr%25t'x@127.0.0.1:{}/shop@copy", home.port()),
        "select n, current_user, (select tableowner from pg_tables where tablename = 't') from t",
    );
    assert_eq!(asked.ok(), "42|al|al");

    // Who is no superuser there sees no passwords.
    let imported = home.nap(&["import", &uri(&cluster, "al", "shop"), "second"]);
    assert!(imported.ok().contains("passwords could not be read"), "{imported}");
    let owner =
        home.nap(&["psql", "shop@second", "--", "-XAtc", "select tableowner from pg_tables where tablename = 't'"]);
    assert_eq!(owner.ok(), "al");
    let empty = std::fs::read_dir(home.path().join("branches/second")).unwrap().flatten();
    assert!(empty.into_iter().all(|entry| entry.file_name() != "dump"), "the dump did not come along");
}

#[test]
fn a_newer_server_is_refused_before_anything_is_copied() {
    let Some(newer) = Install::at("/var/cache/napgres-test/17/bin".as_ref()) else { return };
    let home = home();
    if home.install().major >= newer.major {
        return;
    }
    let cluster = guarded(&newer);
    let refused = home.nap(&["import", &uri(&cluster, "boss", "shop"), "copy"]);
    let said = refused.fails_with(1);
    assert!(said.contains("does not go to an older version") && said.contains("nap pg install 17"), "{said}");
    let refused = home.nap(&["import", "--cluster", &uri(&cluster, "boss", "shop"), "copy"]);
    assert!(refused.fails_with(1).contains("PostgreSQL 17 is not installed"), "{refused}");
    nothing_is_left(&home, "copy");
}
