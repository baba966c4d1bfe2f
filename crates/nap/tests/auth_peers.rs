//! On Unix sockets the kernel says who comes: the home's owner and root may be any role, everybody else the role of
//! their own name (`peer map=nap`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::process::Command;

use nap_testkit::{Output, TestHome, is_root};

/// psql as another user of this system.
fn psql_as(home: &TestHome, user: &str, connection: &str) -> Output {
    let psql = home.install().program("psql");
    let mut command = Command::new("setpriv");
    let number = |flag: &str| Output::of(Command::new("id").args([flag, user])).ok().to_owned();
    command.args(["--reuid", &number("-u"), "--regid", &number("-g"), "--clear-groups"]).arg(psql);
    command.args(["-XqAtw", "-d", connection, "-c", "select current_user"]).current_dir("/").env_clear();
    Output::of(&mut command)
}

#[test]
fn the_owner_and_root_may_be_any_role_and_others_that_of_their_name() {
    if !is_root() {
        // Only root can become other users.
        return;
    }
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home.psql("main", "create role alice login password 'a'; create role locked nologin").ok();
    let (port, shared, door) = (home.port(), home.socket_directory(), home.door("main"));
    for directory in [shared.display(), door.display()] {
        let as_role =
            |role: &str, more: &str| format!("host={directory} port={port} user={role} dbname=postgres {more}");
        for user in ["root", "postgres"] {
            for role in ["alice", "postgres", &home.role()] {
                assert_eq!(psql_as(&home, user, &as_role(role, "")).ok(), role, "{user} through {directory}");
            }
            let said = psql_as(&home, user, &as_role("locked", ""));
            assert!(said.fails_with(2).contains("role \"locked\" is not permitted to log in"), "{said}");
        }
        let wakes = home.put_to_sleep("main");
        for role in ["alice", "postgres", "no-such-role"] {
            let said = psql_as(&home, "nobody", &as_role(role, "password=a"));
            let expected = format!("Peer authentication failed for user \"{role}\"");
            assert!(said.fails_with(2).contains(&expected), "{said}");
            assert!(said.stderr.contains("HINT:  Connect over TCP with the role's password"), "{said}");
        }
        home.still_sleeps("main", wakes);
        let said = psql_as(&home, "nobody", &as_role("nobody", ""));
        assert!(
            said.fails_with(2).contains("role \"nobody\" does not exist"),
            "peer, but there is no such role: {said}"
        );
        home.still_sleeps("main", wakes);
        let by_tcp = format!("host=127.0.0.1 port={port} user=alice dbname=postgres password=a");
        assert_eq!(psql_as(&home, "nobody", &by_tcp).ok(), "alice");
        home.psql("main", "create role nobody login").ok();
        assert_eq!(
            psql_as(&home, "nobody", &as_role("nobody", "")).ok(),
            "nobody",
            "everybody may be the role of their own name"
        );
        home.psql("main", "drop role nobody").ok();
    }
}

#[test]
fn nobody_else_reaches_the_servers_own_sockets_or_the_secrets() {
    if !is_root() {
        return;
    }
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    home.nap(&["wake", "main"]).ok();
    for secret in ["secrets", "branches/main/data", "run/.servers", "log", "control.sock", "nap.toml"] {
        let path = home.path().join(secret);
        let said = Output::of(
            Command::new("setpriv")
                .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "test", "-w"])
                .arg(&path),
        );
        assert_eq!(said.code, Some(1), "nobody may write {secret}");
    }
    for secret in ["secrets", "branches/main/data", "run/.servers", "log"] {
        let path = home.path().join(secret);
        let said = Output::of(
            Command::new("setpriv").args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "ls"]).arg(&path),
        );
        assert!(said.stderr.contains("Permission denied"), "{secret}: {said}");
    }
}
