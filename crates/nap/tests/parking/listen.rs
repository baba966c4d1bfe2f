//! Who only listens needs no backend, and misses nothing.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use nap_testkit::process;

/// A session that keeps the notifications it hears.
pub(super) struct Listener {
    session: Raw<UnixStream>,
    heard: Vec<(String, String)>,
}

impl Listener {
    pub(super) fn new(home: &TestHome, database: &str, channels: &[&str]) -> Self {
        let role = home.role();
        let mut session =
            Raw::unix(&home.socket_directory(), home.port()).start(&[("user", role.as_str()), ("database", database)]);
        session.ready().unwrap();
        let mut listener = Self { session, heard: Vec::new() };
        for channel in channels {
            listener.ask(&format!("LISTEN \"{}\"", channel.replace('"', "\"\"")));
        }
        listener
    }

    fn take(&mut self, body: &[u8]) {
        let mut texts = body[4..].split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
        self.heard.push((texts.next().unwrap(), texts.next().unwrap()));
    }

    /// The first column of the last row.
    pub(super) fn ask(&mut self, sql: &str) -> String {
        self.session.send(&[b"Q", &(sql.len() as u32 + 5).to_be_bytes()[..], sql.as_bytes(), b"\0"].concat());
        let mut value = String::new();
        loop {
            match self.session.message().unwrap() {
                (b'Z', _) => return value,
                (b'A', body) => self.take(&body),
                (b'D', body) => value = String::from_utf8_lossy(&body[6..]).into_owned(),
                (b'E', body) => panic!("{sql}: {}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    }

    /// Waits until it has heard so many notifications in all.
    pub(super) fn hears(&mut self, count: usize) -> &[(String, String)] {
        while self.heard.len() < count {
            match self.session.message().unwrap() {
                (b'A', body) => self.take(&body),
                (tag, body) => panic!("{}: {}", tag as char, String::from_utf8_lossy(&body)),
            }
        }
        &self.heard
    }

    fn payloads(&self) -> Vec<&str> {
        self.heard.iter().map(|(_, payload)| payload.as_str()).collect()
    }

    /// What it is told at its end.
    pub(super) fn is_ended(&mut self) -> String {
        loop {
            match self.session.message().unwrap() {
                (b'A', body) => self.take(&body),
                (b'E', body) => return nap_testkit::RawError::read(&body).code,
                (tag, _) => panic!("{}", tag as char),
            }
        }
    }
}

/// The hubs' backends: pids and what they did last.
fn hubs(home: &TestHome, database: &str) -> Vec<(i32, String)> {
    let sql = "SELECT pid || '|' || query FROM pg_stat_activity WHERE application_name = 'nap listener hub'";
    let rows = home.psql(database, sql);
    let row = |line: &str| line.split_once('|').map(|(pid, query)| (pid.parse().unwrap(), query.to_owned()));
    rows.ok().lines().filter_map(row).collect()
}

#[test]
fn a_parked_listener_hears_what_is_notified() {
    let home = home();
    let mut listener = Listener::new(&home, "postgres@main", &["a", "B \"c\"", "é"]);
    all_parked(&home, "main");
    home.psql(
        "postgres@main",
        "NOTIFY a, 'one'; NOTIFY \"B \"\"c\"\"\", 'two'; NOTIFY other; NOTIFY \"é\", 'ü'; NOTIFY a",
    )
    .ok();
    let expected = [("a", "one"), ("B \"c\"", "two"), ("é", "ü"), ("a", "")];
    let expected = expected.map(|(channel, payload)| (channel.to_owned(), payload.to_owned()));
    assert_eq!(listener.hears(4), expected);
    // Who has notified may take a moment to go.
    eventually("it needed no backend for that", || {
        (sessions(&home, "main") == [("parked".to_owned(), None)]).then_some(())
    });
    let [(_, query)] = &hubs(&home, "main")[..] else { panic!("one hub") };
    assert!(query.contains("LISTEN \"a\"") && query.contains("LISTEN \"é\""), "{query}");
    assert_eq!(listener.ask("SELECT string_agg(c, ' ') FROM pg_listening_channels() AS c"), "a B \"c\" é");
    assert_eq!(hubs(&home, "main"), [], "nobody listens by it any more");
    listener.ask("NOTIFY a, 'to itself'");
    assert_eq!(listener.hears(5)[4].1, "to itself");
    home.nap(&["sessions", "--end", "1"]).ok();
    assert_eq!(listener.is_ended(), "57P01");
}

#[test]
fn the_first_thing_of_each_wake_is_heard() {
    let home = home();
    let mut listener = Listener::new(&home, "postgres@main", &["a"]);
    for wake in 0..20 {
        home.nap(&["sleep"]).ok();
        assert_eq!(home.server_pid("main"), None);
        home.psql("postgres@main", &format!("NOTIFY a, '{wake}'")).ok();
        assert_eq!(listener.hears(wake + 1)[wake].1, wake.to_string());
    }
    // The one that has notified may still be on its way out.
    eventually("it is the only one", || (sessions(&home, "main") == [("parked".to_owned(), None)]).then_some(()));
    home.nap(&["sleep"]).ok();
    assert_eq!(listener.ask("SELECT 2"), "2");
    assert_eq!(listener.heard.len(), 20);
}

#[test]
fn what_is_notified_just_before_sleep_is_heard() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"100ms\"").build();
    home.up();
    let mut listener = Listener::new(&home, "postgres@main", &["a"]);
    let mut notifier = session(&home);
    for number in 0..20 {
        notifier.ask(&format!("NOTIFY a, '{number}'")).unwrap();
        sleeps(&home, "main");
    }
    listener.hears(20);
    assert_eq!(listener.payloads(), (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// Under a stream of notifications channels move to the hub and back: each is heard once, in order.
#[test]
fn nothing_is_lost_or_heard_twice_while_channels_move() {
    /// At least, and on until channels have moved so often.
    const NOTIFIED: usize = 3_000;
    const NOTIFIED_MAX: usize = 60_000;
    const MOVES: usize = 20;
    let home = home();
    let mut listeners: Vec<Listener> = (0..3).map(|_| Listener::new(&home, "postgres@main", &["a", "b"])).collect();
    let enough = AtomicBool::new(false);
    let (moves, notified) = std::thread::scope(|scope| {
        let notifiers = ["a", "b"].map(|channel| {
            let mut notifier = session(&home);
            notifier.ask("SET nap.keep_awake = on").unwrap();
            let enough = &enough;
            scope.spawn(move || {
                let mut number = 0;
                while number < NOTIFIED || (!enough.load(Ordering::Relaxed) && number < NOTIFIED_MAX) {
                    notifier.ask(&format!("NOTIFY {channel}, '{number}'")).unwrap();
                    number += 1;
                }
                number
            })
        });
        let mut moves = 0;
        while !notifiers.iter().all(|notifier| notifier.is_finished()) {
            let parked = park(&home, "main");
            moves += parked.iter().filter(|(state, _)| state == "parked").count();
            enough.store(moves > MOVES, Ordering::Relaxed);
            for listener in &mut listeners {
                assert_eq!(listener.ask("SELECT 2"), "2");
            }
        }
        (moves, notifiers.map(|notifier| notifier.join().unwrap()))
    });
    for listener in &mut listeners {
        listener.hears(notified.iter().sum());
        for (channel, notified) in ["a", "b"].into_iter().zip(notified) {
            let of = listener.heard.iter().filter(|(on, _)| on == channel);
            let expected: Vec<String> = (0..notified).map(|number| number.to_string()).collect();
            assert_eq!(of.map(|(_, payload)| payload.clone()).collect::<Vec<_>>(), expected);
        }
    }
    assert!(moves > MOVES, "{moves} moves show little");
}

#[test]
fn who_may_have_missed_something_is_told() {
    let home = home();
    let parked = || {
        let listener = Listener::new(&home, "postgres@main", &["a"]);
        all_parked(&home, "main");
        listener
    };
    let mut listener = parked();
    let (hub, _) = hubs(&home, "main")[0].clone();
    home.psql("main", &format!("SELECT pg_terminate_backend({hub})")).ok();
    assert_eq!(listener.is_ended(), "57P01");
    let mut listener = parked();
    process::kill9(hubs(&home, "main")[0].0);
    assert_eq!(listener.is_ended(), "57P01");
    eventually("the server has recovered", || home.psql("main", "SELECT 2").succeeded().then_some(()));
    let mut listener = parked();
    let mut pinned = session(&home);
    pinned.ask("CREATE TEMP TABLE t (i int)").unwrap();
    // A restart ends who is pinned, and then brings in what is on the way.
    home.nap(&["restart"]).ok();
    assert_eq!(pinned.ready().unwrap_err().code, "57P01");
    home.psql("postgres@main", "NOTIFY a, 'restarted'").ok();
    assert_eq!(listener.hears(1)[0].1, "restarted");
    drop(listener);
    // Asleep there is nothing to lose.
    let mut listener = parked();
    home.nap(&["sleep"]).ok();
    home.psql("postgres@main", "NOTIFY a, 'all is well'").ok();
    assert_eq!(listener.hears(1)[0].1, "all is well");
}

#[test]
fn each_database_has_a_hub_of_its_own_as_long_as_somebody_listens() {
    let home = home();
    home.psql("main", "CREATE DATABASE shop").ok();
    let mut shop = Listener::new(&home, "shop@main", &["a"]);
    let mut other = Listener::new(&home, "postgres@main", &["a"]);
    home.nap(&["sleep"]).ok();
    home.psql("shop@main", "NOTIFY a, 'shop'").ok();
    assert_eq!(shop.hears(1)[0].1, "shop");
    assert_eq!(hubs(&home, "main").len(), 2);
    assert_eq!(other.ask("SELECT 2"), "2");
    assert!(other.heard.is_empty());
    let refused = home.psql("postgres@main", "DROP DATABASE shop");
    assert!(refused.stderr.contains("is being accessed by other users"), "as with any listener: {refused}");
    shop.session.leave();
    eventually("its hub has gone", || (hubs(&home, "main").is_empty()).then_some(()));
    home.psql("postgres@main", "DROP DATABASE shop").ok();
}

#[test]
fn a_listener_that_does_not_read_is_dropped_at_a_bound_and_the_others_are_not() {
    let home = home();
    let mut reads = Listener::new(&home, "postgres@main", &["a"]);
    let mut does_not = Listener::new(&home, "postgres@main", &["a"]);
    all_parked(&home, "main");
    let many = "SELECT count(pg_notify('a', i || repeat('x', 7000))) FROM generate_series(1, 1000) AS i";
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..12 {
                home.psql("postgres@main", many).ok();
            }
        });
        reads.hears(12_000);
    });
    eventually("it has been dropped", || (sessions(&home, "main").len() == 1).then_some(()));
    // There are no last words: it has read half a message perhaps.
    while does_not.session.message().is_ok() {}
    home.psql("postgres@main", "NOTIFY a, 'last'").ok();
    assert_eq!(reads.hears(12_001)[12_000].1, "last");
}

/// Whatever the session has set, its channels move.
#[test]
fn hostile_settings_do_not_keep_channels_from_moving() {
    let home = home();
    home.psql("main", "CREATE ROLE nobody").ok();
    let mut listener = Listener::new(&home, "postgres@main", &["a"]);
    for setting in [
        "default_transaction_isolation = serializable",
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "search_path = ''",
        "standard_conforming_strings = off",
        "ROLE nobody",
    ] {
        listener.ask(&format!("SET {setting}"));
    }
    for round in 0..3 {
        home.nap(&["sleep"]).ok();
        home.psql("postgres@main", &format!("NOTIFY a, '{round}'")).ok();
        assert_eq!(listener.hears(round + 1)[round].1, round.to_string());
        assert_eq!(listener.ask("SHOW role"), "nobody");
    }
}

/// Its name can be read in pg_stat_activity while a session of the same role is handed over.
#[test]
fn who_listens_to_fences_is_pinned_and_harms_nobody() {
    let home = home();
    let mut listener = Listener::new(&home, "postgres@main", &["a"]);
    all_parked(&home, "main");
    let [(_, query)] = &hubs(&home, "main")[..] else { panic!("one hub") };
    let channel = query.split('"').find(|word| word.starts_with("nap_fence_")).unwrap().to_owned();
    let mut curious = Listener::new(&home, "postgres@main", &[&channel]);
    assert_eq!(park(&home, "main"), [("parked".into(), None), ("idle".into(), Some("not-asked".into()))]);
    for round in 0..3 {
        assert_eq!(listener.ask("SELECT 2"), "2");
        park(&home, "main");
        home.psql("postgres@main", &format!("NOTIFY a, '{round}'")).ok();
        assert_eq!(listener.hears(round + 1)[round].1, round.to_string());
    }
    // What it has heard is past.
    let forged = curious.hears(1)[0].1.clone();
    curious.ask(&format!("NOTIFY \"{channel}\", '{forged}'"));
    home.psql("postgres@main", "NOTIFY a, 'last'").ok();
    assert_eq!(listener.hears(4)[3].1, "last");
}
