//! A branch may have a TCP port of its own: what comes in there is that branch.
#![allow(clippy::unwrap_used, reason = "a test")]

use nap_testkit::{PortPair, TestHome};

fn at(home: &TestHome, port: u16, database: &str) -> String {
    format!("host=127.0.0.1 port={port} user={} password={} dbname={database}", home.role(), home.password())
}

#[test]
fn a_branchs_own_port_leads_to_it_and_moves_and_goes_with_it() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.main_and_feat();
    let pair = PortPair::free();
    let (first, second) = (pair.port, pair.port + 1);
    home.nap(&["set", "feat", &format!("port={first}")]).ok();
    assert_eq!(home.psql_with(&at(&home, first, "postgres"), "show nap.branch").ok().trim(), "feat");
    assert!(home.psql_with(&at(&home, first, "postgres@main"), "select 1").fails_with(2).contains("feat"));

    assert!(home.nap(&["set", "feat", &format!("port={}", home.port())]).fails_with(1).contains("is the daemon's own"));
    assert!(home.nap(&["set", "feat", "port=0"]).fails_with(2).contains("port"));
    home.nap(&["set", "feat", &format!("port={second}")]).ok();
    assert_eq!(home.psql_with(&at(&home, second, "postgres"), "show nap.branch").ok().trim(), "feat");
    assert!(home.psql_with(&at(&home, first, "postgres"), "select 1").fails_with(2).contains("refused"));

    home.nap(&["down"]).ok();
    home.up();
    assert_eq!(home.psql_with(&at(&home, second, "postgres"), "show nap.branch").ok().trim(), "feat");
    home.nap(&["set", "feat", "port="]).ok();
    assert!(home.psql_with(&at(&home, second, "postgres"), "select 1").fails_with(2).contains("refused"));
    home.nap(&["set", "feat", &format!("port={second}")]).ok();
    home.nap(&["rm", "feat"]).ok();
    assert!(home.psql_with(&at(&home, second, "postgres"), "select 1").fails_with(2).contains("refused"));
}
