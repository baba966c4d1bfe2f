//! Passwords are checked before anything is woken, against what the branch itself holds, awake or asleep.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use nap_testkit::{Raw, TestHome, eventually};

fn up() -> TestHome {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home
}

const WRONG: &str = "password authentication failed for user";

#[test]
fn who_does_not_prove_who_he_is_wakes_nothing_and_learns_nothing() {
    let home = up();
    let (role, password) = (home.role(), home.password());
    home.psql("main", "create role locked nologin password 'p'").ok();
    let wakes = home.put_to_sleep("main");
    for (role, password) in [(&*role, "wrong"), ("nobody-here", "wrong"), ("nobody-here", &*password), ("locked", "x")]
    {
        for database in ["postgres@main", "no-such-database@main"] {
            let said = home.login(role, password, database);
            let expected = format!("FATAL:  {WRONG} \"{role}\"");
            assert!(said.fails_with(2).trim_end().ends_with(&expected), "{said}");
        }
    }
    let without = format!("host=127.0.0.1 port={} user={role} dbname=postgres@main", home.port());
    assert!(home.psql_with(&without, "select 1").fails_with(2).contains("no password supplied"));
    home.still_sleeps("main", wakes);
    assert_eq!(home.login(&role, &password, "postgres@main").ok(), role);
    assert_eq!(home.wakes("main"), wakes + 1);
}

/// Salt and iterations that a role is offered.
fn challenge(home: &TestHome, role: &str) -> (Vec<u8>, String, String) {
    let mut client = Raw::<TcpStream>::tcp(home.port()).start(&[("user", role), ("database", "postgres")]);
    let (tag, offer) = client.message().unwrap();
    assert_eq!(tag, b'R');
    let first = "n,,n=,r=abcdefghijklmnopqrstuvwx";
    let body = [b"SCRAM-SHA-256\0", &(first.len() as u32).to_be_bytes()[..], first.as_bytes()].concat();
    client.send(&[b"p", &(body.len() as u32 + 4).to_be_bytes()[..], &body].concat());
    let (_, body) = client.message().unwrap();
    let text = String::from_utf8(body[4..].to_vec()).unwrap();
    let field = |name: &str| text.split(',').find_map(|part| part.strip_prefix(name)).unwrap().to_owned();
    (offer, field("s="), field("i="))
}

#[test]
fn a_role_that_does_not_exist_looks_like_one_that_does() {
    let home = up();
    let known = challenge(&home, &home.role());
    let unknown = challenge(&home, "nobody-here");
    assert_eq!((&known.0, known.1.len(), &known.2), (&unknown.0, unknown.1.len(), &unknown.2));
    assert_ne!(unknown.1, challenge(&home, "nobody-else").1);
    // Its salt stays the same, as a real one's does, even when the daemon is another.
    home.nap(&["down"]).ok();
    home.up();
    assert_eq!(challenge(&home, "nobody-here"), unknown);
    assert_eq!(challenge(&home, &home.role()), known);
}

#[test]
fn a_changed_password_holds_at_the_next_login_awake_and_asleep() {
    let home = up();
    home.psql("main", "create role alice login password 'one'").ok();
    assert_eq!(home.login("alice", "one", "postgres@main").ok(), "alice");
    home.psql("main", "alter role alice password 'two'").ok();
    assert!(home.login("alice", "one", "postgres@main").fails_with(2).contains(WRONG));
    assert_eq!(home.login("alice", "two", "postgres@main").ok(), "alice");
    home.psql("main", "alter role alice password 'three'").ok();
    let wakes = home.put_to_sleep("main");
    for old in ["one", "two"] {
        assert!(home.login("alice", old, "postgres@main").fails_with(2).contains(WRONG));
    }
    home.still_sleeps("main", wakes);
    assert_eq!(home.login("alice", "three", "postgres@main").ok(), "alice");
    home.psql("main", "alter role alice password null").ok();
    assert!(home.login("alice", "three", "postgres@main").fails_with(2).contains(WRONG));
    let wakes = home.put_to_sleep("main");
    assert!(home.login("alice", "three", "postgres@main").fails_with(2).contains(WRONG));
    home.still_sleeps("main", wakes);
}

#[test]
fn a_password_ends_with_its_valid_until() {
    let home = up();
    home.psql("main", "create role alice login password 'a'").ok();
    for (until, may) in [
        ("now() - interval '1 s'", false),
        ("now() + interval '1 day'", true),
        ("timestamptz 'infinity'", true),
        ("timestamptz '-infinity'", false),
    ] {
        let sql = format!("do $$ begin execute format('alter role alice valid until %L', {until}); end $$");
        home.psql("main", &sql).ok();
        for asleep in [false, true] {
            let wakes = if asleep { home.put_to_sleep("main") } else { home.wakes("main") };
            let said = home.login("alice", "a", "postgres@main");
            if may {
                assert_eq!(said.ok(), "alice", "{until}");
            } else {
                assert!(said.fails_with(2).contains(WRONG), "{until}: {said}");
                assert_eq!(home.wakes("main"), wakes, "{until}");
            }
        }
    }
    // It ends while the server sleeps, too.
    let soon =
        "do $$ begin execute format('alter role alice valid until %L', clock_timestamp() + interval '4 s'); end $$";
    home.psql("main", soon).ok();
    assert_eq!(home.login("alice", "a", "postgres@main").ok(), "alice");
    home.put_to_sleep("main");
    eventually("the password has ended", || {
        let said = home.login("alice", "a", "postgres@main");
        if said.succeeded() {
            home.put_to_sleep("main");
        }
        (!said.succeeded()).then_some(())
    });
    assert_eq!(home.state("main"), "asleep");
}

#[test]
fn md5_is_refused_like_a_wrong_password_and_the_log_tells_the_way_out() {
    let home = up();
    home.psql("main", "set password_encryption = 'md5'; create role old login password 'm'").ok();
    for asleep in [false, true] {
        let wakes = if asleep { home.put_to_sleep("main") } else { home.wakes("main") };
        let (old, unknown) = (challenge(&home, "old"), challenge(&home, "nobody-here"));
        assert_eq!((&old.0, old.1.len(), &old.2), (&unknown.0, unknown.1.len(), &unknown.2));
        let said = home.login("old", "m", "postgres@main");
        assert!(said.fails_with(2).trim_end().ends_with(&format!("FATAL:  {WRONG} \"old\"")), "{said}");
        assert_eq!(home.wakes("main"), wakes);
    }
    let log = home.daemon_log();
    assert!(log.contains("stored as md5") && log.contains("password_encryption = 'scram-sha-256'"), "{log}");
    home.psql("main", "alter role old password 'm'").ok();
    assert_eq!(home.login("old", "m", "postgres@main").ok(), "old");
}

#[test]
fn the_first_password_is_kept_to_its_owner_and_told_as_long_as_it_works() {
    let home = up();
    let (role, password) = (home.role(), home.password());
    let file = home.path().join("secrets").join(&role);
    let mut kept: Vec<_> =
        std::fs::read_dir(home.path().join("secrets")).unwrap().flatten().map(|entry| entry.path()).collect();
    kept.retain(|path| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == password));
    assert_eq!(kept.len(), 1, "the password stands in one file, such as {}", file.display());
    assert_eq!(std::fs::metadata(&kept[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(home.path().join("secrets")).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(password.len() >= 20);
    home.nap(&["branch", "feat"]).ok();
    home.psql("main", &format!("alter role \"{role}\" password 'changed'")).ok();
    for asleep in [false, true] {
        if asleep {
            home.put_to_sleep("main");
        }
        let said = home.nap(&["url", "main"]);
        assert!(!said.ok().contains(&password), "{said}");
        assert!(said.stderr.contains("not one that Napgres has given"), "{said}");
        let wakes = home.wakes("feat");
        assert!(home.url("feat").contains(&password), "it still opens feat");
        assert_eq!(home.wakes("feat"), wakes, "asking for a URL wakes nothing");
    }
    assert_eq!(home.login(&role, "changed", "postgres@main").ok(), role);
    assert_eq!(home.login(&role, &password, "postgres@feat").ok(), role);
    home.psql_with(
        &home.socket_connection("postgres@main", &role),
        &format!("alter role \"{role}\" password '{password}'"),
    )
    .ok();
    assert!(home.url("main").contains(&password), "set again, it is told again");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test's script")]
fn a_secret_as_long_as_a_book_counts_as_none() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    let (salt, key) = ("A".repeat(400_000), format!("{}=", "A".repeat(43)));
    let alter = format!("create role fat login password 'SCRAM-SHA-256$4096:{salt}${key}:{key}'");
    let script = home.beside().join("fat.sql");
    std::fs::write(&script, alter).unwrap();
    // PostgreSQL 17 and newer refuse it themselves; where they do there is nothing to see.
    let _ = home.program("psql").arg("-d").arg(home.url("postgres@main")).arg("-f").arg(&script).output().unwrap();
    home.sleep("main");
    let kept = std::fs::metadata(home.path().join("branches/main/roles")).unwrap().len();
    assert!(kept < 50_000, "{kept} bytes of roles are kept");
    assert!(home.login("fat", "anything", "postgres@main").fails_with(2).contains("password authentication failed"));
}
