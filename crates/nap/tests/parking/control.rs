//! What the role that `control_role` names says on the channel `nap` is done; whatever else is said there is not.

use nap_testkit::Output;

use super::*;

fn notify(home: &TestHome, role: &str, words: &str) -> Output {
    let connection = home.socket_connection("postgres@main", role);
    home.psql_with(&connection, &format!("NOTIFY nap, '{words}'"))
}

fn logged(home: &TestHome, words: &str) {
    eventually(words, || home.daemon_log().contains(words).then_some(()));
}

/// A home with two roles more, of which one may control.
fn home() -> TestHome {
    let home = super::home();
    home.psql("postgres@main", "CREATE ROLE keeper LOGIN; CREATE ROLE somebody LOGIN").ok();
    home.nap(&["set", "main", "control_role=keeper"]).ok();
    home
}

#[test]
fn the_named_role_puts_a_branch_to_sleep_and_nobody_else_does() {
    let home = home();
    let mut idle = session(&home);
    for role in ["somebody", "postgres"] {
        notify(&home, role, "sleep").ok();
        logged(&home, &format!("role=\"{role}\""));
    }
    // A superuser may be anybody, but who has logged in counts.
    let connection = home.socket_connection("postgres@main", "somebody");
    home.psql_with(&connection, "NOTIFY other, 'sleep'").ok();
    assert_eq!(home.state("main"), "awake");
    notify(&home, "keeper", " sleep ").ok();
    sleeps(&home, "main");
    idle.ask("SELECT 1+1").unwrap();
    assert_eq!(home.state("main"), "awake", "the one that was idle is still connected");
}

#[test]
fn it_reads_the_settings_again_and_ignores_what_it_does_not_know() {
    let home = home();
    notify(&home, "keeper", "drop everything").ok();
    logged(&home, "what was notified is not known; ignored");
    let file = home.path().join("nap.toml");
    let settings = std::fs::read_to_string(&file).unwrap().replace("\"10min\"", "\"7min\"");
    std::fs::write(&file, settings).unwrap();
    notify(&home, "keeper", "reload config").ok();
    logged(&home, "settings reloaded");
    assert_eq!(home.nap(&["config", "get", "sleep_after"]).ok().trim(), "7min");
}

#[test]
fn it_is_off_unless_a_role_is_named() {
    let home = super::home();
    let listeners = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(home.psql("postgres@main", listeners).ok(), "0");
    home.nap(&["set", "main", &format!("control_role={}", home.role())]).ok();
    assert_eq!(home.psql("postgres@main", listeners).ok(), "1");
    // It stands in nobody's way: not in that of a sleep, or of who drops the database.
    home.psql("postgres@main", "CREATE DATABASE shop").ok();
    home.psql("shop@main", "SELECT 1").ok();
    eventually("DROP DATABASE", || home.psql("postgres@main", "DROP DATABASE shop").code.filter(|code| *code == 0));
    let _idle = session(&home);
    all_parked(&home, "main");
    home.sleep("main");
}

#[test]
fn it_listens_again_when_its_backend_is_lost() {
    let home = home();
    let _idle = session(&home);
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    assert_eq!(home.psql("postgres@main", end).ok(), "t");
    let listeners = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";
    eventually("it listens again", || (home.psql("postgres@main", listeners).ok() == "1").then_some(()));
    notify(&home, "keeper", "sleep").ok();
    sleeps(&home, "main");
}
