//! Notifications that come from elsewhere, or cannot come at all.

use super::listen::Listener;
use super::*;
use nap_testkit::pg_majors;

/// The barrier is that of the server: its other databases notify too.
#[test]
fn what_another_database_notifies_first_is_heard() {
    let home = home();
    home.psql("postgres@main", "CREATE DATABASE far").ok();
    if !home.psql("postgres@main", "CREATE EXTENSION dblink").succeeded() {
        // A PostgreSQL without its additional modules.
        return;
    }
    let mut listener = Listener::new(&home, "far@main", &["a"]);
    let socket = home.private_socket_directory("main");
    let there = format!("host={} user=postgres dbname=far", socket.display());
    for wake in 0..10 {
        home.nap(&["sleep"]).ok();
        assert_eq!(home.server_pid("main"), None);
        home.psql("postgres@main", &format!("SELECT dblink_exec('{there}', 'NOTIFY a, ''{wake}''')")).ok();
        assert_eq!(listener.hears(wake + 1)[wake].1, wake.to_string());
    }
}

/// While PostgreSQL's queue is full nobody can make a fence: a listener keeps what it has, and hears what comes when there is room again.
#[test]
fn a_full_queue_of_notifications_keeps_channels_where_they_are() {
    let Some(install) = pg_majors().into_iter().find(|install| install.major >= 17) else {
        // The size of the queue is a setting since 17: 8 GB are too much for a test.
        return;
    };
    let home =
        TestHome::builder(env!("CARGO_BIN_EXE_nap")).install(&install).setting("sleep_after", "\"10min\"").build();
    home.up();
    home.psql("postgres@main", "ALTER SYSTEM SET max_notify_queue_pages = 64").ok();
    home.nap(&["restart", "main"]).ok();
    let mut parked = Listener::new(&home, "postgres@main", &["a"]);
    all_parked(&home, "main");
    let mut attached = Listener::new(&home, "postgres@main", &["a"]);

    // Who listens and does not come to an end of its transaction keeps the queue from being emptied.
    let mut slow = Listener::new(&home, "postgres@main", &["other"]);
    slow.ask("BEGIN");
    let mut notifier = session(&home);
    let fill = "SELECT count(pg_notify('nobody', repeat('x', 7900) || n)) FROM generate_series(1, 10) AS n";
    let full = (0..100).find_map(|_| notifier.ask(fill).err()).expect("the queue is full");
    assert_eq!(full.code, "54000", "{full:?}");
    let states = park(&home, "main");
    assert!(states.len() == 4 && states.iter().any(|(state, _)| state == "idle"), "{states:?}");

    slow.ask("COMMIT");
    eventually("there is room again", || {
        // PostgreSQL does not look for room when somebody notifies, but when it is asked for that.
        let used = notifier.ask("SELECT pg_notification_queue_usage()").unwrap();
        (used.parse::<f64>().unwrap() < 0.5).then_some(())
    });
    notifier.ask("NOTIFY a, 'again'").unwrap();
    for listener in [&mut parked, &mut attached] {
        assert_eq!(listener.hears(1)[0].1, "again");
    }
    eventually("all are parked", || park(&home, "main").iter().all(|(state, _)| state == "parked").then_some(()));
    notifier.ask("NOTIFY a, 'at last'").unwrap();
    for listener in [&mut parked, &mut attached] {
        assert_eq!(listener.hears(2)[1].1, "at last");
    }
}
