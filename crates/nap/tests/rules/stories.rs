//! What the owner of a home sees of its rules: files that are there, reload, branches of their own rules, refusals.

use std::path::PathBuf;

use nap_testkit::{Output, Raw, TestHome, give_to_server_user, is_root};

use crate::client::{Knock, Origin, Place};

fn home() -> TestHome {
    TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build()
}

fn file(home: &TestHome, name: &str, text: &str) -> PathBuf {
    let path = home.path().join(name);
    std::fs::write(&path, text).unwrap();
    give_to_server_user(&path);
    path
}

/// One login over TCP: its role, or the error.
fn tcp(home: &TestHome, role: &str, target: &str) -> Output {
    home.psql_with(
        &format!("host=127.0.0.1 port={} user={role} dbname={target} sslmode=disable", home.port()),
        "select current_user",
    )
}

#[test]
fn a_home_has_rules_from_its_first_start_and_gets_those_it_lacks() {
    let home = home();
    home.up();
    let first = std::fs::read_to_string(home.path().join("pg_hba.conf")).unwrap();
    assert!(first.contains("local    all          all                 peer map=nap"), "{first}");
    home.nap(&["config", "check"]).ok();
    home.nap(&["down"]).ok();
    file(&home, "pg_hba.conf", "local all all peer map=nap\n");
    std::fs::remove_file(home.path().join("pg_ident.conf")).unwrap();
    home.up();
    let kept = std::fs::read_to_string(home.path().join("pg_hba.conf")).unwrap();
    assert_eq!(kept, "local all all peer map=nap\n", "what is there stays");
    assert!(std::fs::read_to_string(home.path().join("pg_ident.conf")).unwrap().contains("\\1"));
    assert_eq!(home.psql_with(&home.socket_connection("postgres", "postgres"), "select 1").ok(), "1");
}

#[test]
fn wrong_rules_change_nothing_and_keep_a_daemon_from_starting() {
    let home = home();
    home.up();
    home.psql("main", "create role alice login").ok();
    let said = tcp(&home, "alice", "postgres");
    assert!(said.fails_with(2).contains("no password supplied"), "{said}");
    let path = file(&home, "pg_hba.conf", "host all all all trust\n\nhost all all all ldap\nlocal all all oops\n");
    let wrong = [
        format!("{}:3: authentication method \"ldap\" is not supported by Napgres", path.display()),
        format!("{}:4: invalid authentication method \"oops\"", path.display()),
    ];
    for command in [["config", "reload"], ["config", "check"]] {
        let said = home.nap(&command);
        assert!(wrong.iter().all(|line| said.fails_with(1).contains(line)), "{said}");
    }
    assert!(home.daemon_log().contains(&wrong[0]), "the log says it too");
    let said = tcp(&home, "alice", "postgres");
    assert!(said.fails_with(2).contains("no password supplied"), "the old rules hold: {said}");

    home.nap(&["down"]).ok();
    let said = home.nap(&["up"]);
    assert!(wrong.iter().all(|line| said.fails_with(1).contains(line)), "{said}");
    assert!(said.stderr.contains("hint: correct the file"), "{said}");
    file(&home, "pg_hba.conf", "host all all all trust\n");
    home.up();
    assert_eq!(tcp(&home, "alice", "postgres").ok(), "alice");
}

/// Opening a pipe waits for who writes into it, and here nobody does.
#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_nobody_waits_for_it() {
    let home = home();
    home.up();
    let pipe = home.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    give_to_server_user(&pipe);
    let path = file(&home, "pg_hba.conf", "include pipe\n");
    let wrong = format!("{}:1: could not open file \"{}\": it is not a regular file", path.display(), pipe.display());
    for command in [["config", "check"], ["config", "reload"]] {
        let said = home.nap(&command);
        assert!(said.fails_with(1).contains(&wrong), "{said}");
    }
    let pipe = pipe.display();
    let given = home.nap(&["config", "set", &format!("ssl_cert_file={pipe}"), &format!("ssl_key_file={pipe}")]);
    assert!(given.fails_with(1).contains("it is not a regular file"), "{given}");
}

#[test]
fn a_branch_may_have_rules_of_its_own_and_its_clones_carry_them() {
    let home = home();
    home.up();
    home.psql("main", "create role alice login; create role bob login").ok();
    home.sleep("main");
    home.nap(&["branch", "open"]).ok();
    file(&home, "branches/open/pg_hba.conf", "host all alice all trust\n");
    home.nap(&["config", "reload"]).ok();
    assert_eq!(tcp(&home, "alice", "postgres@open").ok(), "alice");
    let said = tcp(&home, "bob", "postgres@open");
    let expected = "no pg_hba.conf entry for host \"127.0.0.1\", user \"bob\", database \"postgres\", no encryption";
    assert!(said.fails_with(2).contains(expected), "the database is named without its branch: {said}");
    assert!(tcp(&home, "alice", "postgres@main").fails_with(2).contains("no password supplied"));

    home.sleep("open");
    home.nap(&["branch", "clone", "--from", "open"]).ok();
    assert_eq!(tcp(&home, "alice", "postgres@clone").ok(), "alice");
    home.nap(&["down"]).ok();
    home.up();
    assert_eq!(tcp(&home, "alice", "postgres@clone").ok(), "alice");
    file(&home, "branches/clone/pg_hba.conf", "host all alice all reject\n");
    home.nap(&["config", "reload"]).ok();
    let said = tcp(&home, "alice", "postgres@clone");
    assert!(said.fails_with(2).contains("pg_hba.conf rejects connection for host"), "{said}");
}

#[test]
fn who_is_refused_wakes_nothing_and_the_log_names_the_rule() {
    let home = home();
    home.up();
    home.psql("main", "create role staff; create role alice login in role staff; create role bob login").ok();
    home.psql("main", "create role late login valid until '2001-01-01'; create role locked").ok();
    let rules = "host all +staff all reject\nhost all bob,late,locked,nobody all trust\nhost all all all md5\n";
    let path = file(&home, "pg_hba.conf", rules);
    home.nap(&["config", "reload"]).ok();
    assert!(tcp(&home, "alice", "postgres").fails_with(2).contains("pg_hba.conf rejects connection"), "asked awake");
    let wakes = home.put_to_sleep("main");
    for (role, expected) in [
        ("alice", "pg_hba.conf rejects connection for host \"127.0.0.1\", user \"alice\", database \"postgres\""),
        ("nobody", "role \"nobody\" does not exist"),
        ("locked", "role \"locked\" is not permitted to log in"),
        ("carol", "no password supplied"),
    ] {
        let said = tcp(&home, role, "postgres");
        assert!(said.fails_with(2).contains(expected), "{said}");
    }
    home.still_sleeps("main", wakes);
    assert!(home.daemon_log().contains(&format!("rule=\"{}:1\"", path.display())), "{}", home.daemon_log());
    assert_eq!(tcp(&home, "late", "postgres").ok(), "late", "VALID UNTIL is the password's end, not the role's");
    home.psql_with(&home.socket_connection("postgres", &home.role()), "select 1").fails_with(2);
    let hint = Raw::unix(&home.socket_directory(), home.port()).start(&[("user", "bob")]).ready().unwrap_err().hint;
    assert!(hint.contains("pg_hba.conf of Napgres' home"), "{hint}");
}

#[test]
fn a_user_without_a_name_goes_by_its_number() {
    if !is_root() {
        return;
    }
    let home = home();
    home.up();
    home.psql("main", "create role alice login; create role bob login").ok();
    file(&home, "pg_ident.conf", "nap 54321 alice\n");
    home.nap(&["config", "reload"]).ok();
    let place = Place { directory: home.socket_directory(), port: home.port() };
    let knock = |role: &str| {
        let (from, database) = (Origin::User(54_321), "postgres".to_owned());
        Knock { from, role: role.to_owned(), database, replication: None }.at(&place)
    };
    assert_eq!(knock("alice"), "in");
    assert_eq!(knock("bob"), "28000: Peer authentication failed for user \"bob\"");
}

#[test]
fn roles_kept_by_a_version_that_knew_no_groups_are_read_again() {
    let home = home();
    home.up();
    home.psql("main", "create role staff; create role alice login in role staff").ok();
    file(&home, "pg_hba.conf", "local all all peer map=nap\nhost all +staff all trust\n");
    home.put_to_sleep("main");
    home.nap(&["down"]).ok();
    let kept = home.path().join("branches/main/roles");
    let mut roles: serde_json::Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    assert!(roles.as_object_mut().unwrap().remove("memberships").is_some_and(|rows| !rows.is_null()));
    std::fs::write(&kept, roles.to_string()).unwrap();
    home.up();
    assert_eq!(tcp(&home, "alice", "postgres").ok(), "alice");
    assert!(home.daemon_log().contains("its roles"), "{}", home.daemon_log());
}

#[test]
fn beyond_loopback_rules_must_want_tls() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("listen_addresses", "[\"0.0.0.0\"]").build();
    let path = file(&home, "pg_hba.conf", "local all all peer map=nap\nhost all all samenet scram-sha-256\n");
    let expected =
        format!("{}:2: this lets clients from beyond this machine in without TLS: write hostssl", path.display());
    for command in [vec!["up"], vec!["config", "check"]] {
        let said = home.nap(&command);
        assert!(said.fails_with(1).contains(&expected), "{said}");
    }
    file(&home, "pg_hba.conf", "local all all peer map=nap\nhostssl all all all scram-sha-256\n");
    home.up();
    file(&home, "pg_hba.conf", "hostssl all all all trust\n");
    let said = home.nap(&["config", "reload"]);
    assert!(said.fails_with(1).contains("pg_hba.conf:1: trust would let anybody in"), "{said}");
}
