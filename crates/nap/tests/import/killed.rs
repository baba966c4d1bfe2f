//! Who dies in the middle leaves a whole branch or none.

use std::time::Duration;

use nap_testkit::{Chaos, eventually, process};

use super::{Cluster, as_role, home, nothing_is_left};

fn filled(cluster: &Cluster) {
    cluster.start().psql("create table t as select n, repeat('x', 100) from generate_series(1, 200000) n").ok();
    cluster.stop("fast");
}

#[test]
fn a_killed_daemon_leaves_a_whole_branch_or_none() {
    let home = home();
    let cluster = Cluster::new(home.install());
    filled(&cluster);
    let before = cluster.digest();
    let mut chaos = Chaos::seed();
    println!("NAP_TEST_SEED={}", chaos.its_seed());
    for number in 0..6 {
        let name = format!("b{number}");
        let mut import = home.nap_command(&["import", cluster.data().to_str().unwrap(), &name]).spawn().unwrap();
        std::thread::sleep(chaos.span_up_to(Duration::from_millis(1_500)));
        home.kill_daemon();
        let _ = import.wait();
        home.up();
        assert_eq!(std::fs::read_dir(home.path().join("staging")).unwrap().count(), 0, "staging is swept");
        if home.branch(&name).is_some() {
            assert_eq!(as_role(&home, "boss", &format!("postgres@{name}"), "select count(*) from t").ok(), "200000");
        }
    }
    assert_eq!(cluster.digest(), before);
}

#[test]
fn who_goes_away_leaves_nothing() {
    let home = home();
    let cluster = Cluster::new(home.install());
    filled(&cluster);
    let mut import = home.nap_command(&["import", cluster.data().to_str().unwrap(), "copy"]).spawn().unwrap();
    eventually("it has begun", || (std::fs::read_dir(home.path().join("staging")).unwrap().count() > 0).then_some(()));
    process::signal(import.id() as i32, process::Signal::INT);
    let _ = import.wait();
    nothing_is_left(&home, "copy");
    home.nap(&["import", cluster.data().to_str().unwrap(), "copy"]).ok();
    assert_eq!(as_role(&home, "boss", "postgres@copy", "select count(*) from t").ok(), "200000");
}
