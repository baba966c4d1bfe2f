//! Tablespaces of clusters from elsewhere come to the branch's own place.

use std::path::PathBuf;

use nap_testkit::{TestHome, give_to_server_user};

use super::{Cluster, as_role, digest, home, nothing_is_left};

/// A cluster that runs, with a table in a tablespace whose path has all that needs care.
fn with_tablespace(home: &TestHome) -> (Cluster, PathBuf) {
    let cluster = Cluster::new(home.install());
    let place = cluster.base.path().join("far = a way");
    make(cluster.start(), "far", &place);
    cluster.psql("create table t tablespace far as select 42 as n").ok();
    cluster.psql("checkpoint").ok();
    (cluster, place)
}

fn make(cluster: &Cluster, name: &str, place: &std::path::Path) {
    std::fs::create_dir(place).unwrap();
    give_to_server_user(place);
    cluster.psql(&format!("create tablespace {name} location '{}'", place.display())).ok();
}

/// The branch has its own, and its source never hears of it.
#[track_caller]
fn has_its_own(home: &TestHome, branch: &str) {
    let ask = |sql: &str| as_role(home, "boss", &format!("postgres@{branch}"), sql).ok().to_owned();
    let location = ask("select pg_tablespace_location(oid) from pg_tablespace where spcname = 'far'");
    let own = home.path().join("branches").join(branch).join("tablespaces");
    assert_eq!(location, own.join(ask("select oid from pg_tablespace where spcname = 'far'")).display().to_string());
    assert_eq!(ask("insert into t values (1); select sum(n) from t"), "43");
}

#[test]
fn those_of_a_data_directory_come_along() {
    let home = home();
    let (cluster, place) = with_tablespace(&home);
    cluster.stop("fast");
    let before = (cluster.digest(), digest(&place));
    home.nap(&["import", cluster.data().to_str().unwrap(), "copy"]).ok();
    has_its_own(&home, "copy");
    assert_eq!((cluster.digest(), digest(&place)), before, "the original is untouched");
    home.nap(&["branch", "dev", "--from", "copy"]).ok();
    std::fs::remove_dir_all(&place).unwrap();
    assert_eq!(as_role(&home, "boss", "postgres@dev", "select sum(n) from t").ok(), "43");
}

#[test]
fn those_of_a_running_cluster_come_along() {
    let home = home();
    let (cluster, _) = with_tablespace(&home);
    let url = format!("postgresql://boss@127.0.0.1:{}/postgres", cluster.port());
    home.nap(&["import", "--cluster", &url, "copy"]).ok();
    has_its_own(&home, "copy");
    assert_eq!(cluster.psql("select sum(n) from t").ok(), "42");
    cluster.stop("fast");
    assert_eq!(as_role(&home, "boss", "postgres@copy", "select sum(n) from t").ok(), "43");
}

/// Its recovery would empty what the original has there.
#[test]
fn one_that_was_made_just_before_a_crash_is_refused() {
    let home = home();
    let (cluster, _) = with_tablespace(&home);
    let place = cluster.base.path().join("new");
    make(&cluster, "new", &place);
    cluster.psql("create table u tablespace new as select 7 as n").ok();
    cluster.stop("immediate");
    let before = digest(&place);
    let refused = home.nap(&["import", cluster.data().to_str().unwrap(), "copy"]);
    assert!(refused.fails_with(1).contains(&format!("a tablespace in {} was made", place.display())), "{refused}");
    nothing_is_left(&home, "copy");
    assert_eq!(digest(&place), before);
    assert_eq!(cluster.start().psql("select n from u").ok(), "7");
    cluster.stop("fast");
    home.nap(&["import", cluster.data().to_str().unwrap(), "copy"]).ok();
    assert_eq!(as_role(&home, "boss", "postgres@copy", "select n from u").ok(), "7");
}
