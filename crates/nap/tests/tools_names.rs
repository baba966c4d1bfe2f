//! The ways to name a branch. Those that are used must agree; where they do not, the client is told of both.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use nap_testkit::{Raw, TestHome};

/// One startup packet's user, database, and further parameters.
#[derive(Clone, Copy, Debug)]
struct Names<'a> {
    user: &'a str,
    database: &'a str,
    more: &'a [(&'a str, &'a str)],
}

impl<'a> Names<'a> {
    fn parameters(self) -> Vec<(&'a str, &'a str)> {
        [&[("user", self.user), ("database", self.database)][..], self.more].concat()
    }
}

const FEAT_SETTING: &[(&str, &str)] = &[("options", "-c nap.branch=feat")];
const FEAT_ENDPOINT: &[(&str, &str)] = &[("options", "endpoint=feat")];
const FEAT_PARAMETER: &[(&str, &str)] = &[("branch", "feat")];
const MAIN_SETTING: &[(&str, &str)] = &[("options", "-c nap.branch=main")];
const MAIN_ENDPOINT: &[(&str, &str)] = &[("options", "-c search_path=public endpoint=main")];
const MAIN_PARAMETER: &[(&str, &str)] = &[("branch", "main")];

fn names<'a>(user: &'a str, database: &'a str, more: &'a [(&'a str, &'a str)]) -> Names<'a> {
    Names { user, database, more }
}

/// Through the sockets that name no branch, as a peer.
fn shared(home: &TestHome, names: Names<'_>) -> Raw<UnixStream> {
    Raw::unix(&home.socket_directory(), home.port()).start(&names.parameters())
}

#[test]
fn ways_that_agree_lead_there_and_ways_that_contradict_are_named() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let main = home.main_and_feat();
    for agree in [
        names("postgres", "postgres@feat", &[]),
        names("postgres@feat", "postgres", &[]),
        names("postgres@feat", "postgres@feat", FEAT_SETTING),
        names("postgres", "postgres", FEAT_SETTING),
        names("postgres", "postgres", FEAT_ENDPOINT),
        names("postgres", "postgres", FEAT_PARAMETER),
        names("postgres", "postgres", &[("nap.branch", "feat")]),
        names("postgres@feat", "postgres@feat", &[("options", "--nap.branch=feat endpoint=feat"), ("branch", "feat")]),
    ] {
        let mut client = shared(&home, agree);
        client.ready().unwrap_or_else(|error| panic!("{agree:?}: {error:?}"));
        assert_eq!(client.ask("show nap.branch").unwrap(), "feat", "{agree:?}");
        assert_eq!(client.ask("select name from mark").unwrap(), "feat", "{agree:?}");
        assert_eq!(client.ask("select current_user || ' ' || current_database()").unwrap(), "postgres postgres");
    }
    let mut client =
        Raw::unix(&home.door("feat"), home.port()).start(&names("postgres@feat", "postgres@feat", &[]).parameters());
    client.ready().unwrap();
    assert_eq!(client.ask("select name from mark").unwrap(), "feat");
    main.was_not_woken("agreement about feat");

    for contradict in [
        names("postgres@main", "postgres@feat", &[]),
        names("postgres", "postgres@feat", MAIN_SETTING),
        names("postgres", "postgres@feat", MAIN_ENDPOINT),
        names("postgres", "postgres@feat", MAIN_PARAMETER),
        names("postgres@feat", "postgres", MAIN_SETTING),
        names("postgres@feat", "postgres", MAIN_ENDPOINT),
        names("postgres@feat", "postgres", MAIN_PARAMETER),
        names("postgres", "postgres", &[("options", "-c nap.branch=feat"), ("branch", "main")]),
        names("postgres", "postgres", &[("options", "endpoint=feat -cnap.branch=main")]),
        names("postgres", "postgres", &[("options", "-c nap.branch=feat -c nap.branch=main")]),
        names("postgres", "postgres", &[("nap.branch", "feat"), ("branch", "main")]),
    ] {
        let error = shared(&home, contradict).ready().unwrap_err();
        assert_eq!(error.code, "22023", "{contradict:?}: {error:?}");
        assert!(error.message.contains("\"main\"") && error.message.contains("\"feat\""), "{error:?}");
        assert!(!error.hint.is_empty(), "{error:?}");
    }
    for through_the_door in [
        names("postgres", "postgres@main", &[]),
        names("postgres@main", "postgres", &[]),
        names("postgres", "postgres", MAIN_SETTING),
    ] {
        let error =
            Raw::unix(&home.door("feat"), home.port()).start(&through_the_door.parameters()).ready().unwrap_err();
        assert_eq!(error.code, "22023", "{error:?}");
        assert!(
            error.message.contains("\"main\"") && error.message.contains("the socket or port it came through"),
            "{error:?}"
        );
    }
    main.was_not_woken("a contradiction");
    main.is_unchanged();
}

#[test]
fn an_unknown_branch_is_refused_before_anything_is_asked() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    home.nap(&["branch", "feature-login"]).ok();
    home.nap(&["sleep", "main"]).ok();
    let wakes = home.wakes("main");
    for (user, database) in [("postgres", "postgres@feature-logn"), ("postgres@feature-logn", "postgres")] {
        let error =
            Raw::<TcpStream>::tcp(home.port()).start(&[("user", user), ("database", database)]).ready().unwrap_err();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("3D000", "branch \"feature-logn\" does not exist"));
        assert!(error.hint.contains("\"feature-login\""), "{error:?}");
    }
    for no_name in ["postgres@", "postgres@Main", "postgres@a_b", "postgres@../x"] {
        let error = Raw::<TcpStream>::tcp(home.port())
            .start(&[("user", "postgres"), ("database", no_name)])
            .ready()
            .unwrap_err();
        assert_eq!(error.code, "3D000", "{no_name}: {error:?}");
    }
    assert_eq!(home.wakes("main"), wakes);
    assert_eq!(home.state("main"), "asleep");
    // A branch that is removed is unknown from then on, and its door is gone.
    home.nap(&["rm", "feature-login"]).ok();
    let error = Raw::<TcpStream>::tcp(home.port())
        .start(&[("user", "postgres"), ("database", "x@feature-login")])
        .ready()
        .unwrap_err();
    assert_eq!(error.code, "3D000");
    assert!(!home.door("feature-login").join(format!(".s.PGSQL.{}", home.port())).exists());
}

#[test]
fn names_with_an_at_sign_are_reached_with_the_branch_behind_them() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    home.psql("main", "create database \"a@b\"").ok();
    home.psql("main", "create role \"o@p\" login").ok();
    let mut client = shared(&home, names("o@p@main", "a@b@main", &[]));
    client.ready().unwrap();
    assert_eq!(client.ask("select current_user || ' ' || current_database()").unwrap(), "o@p a@b");
    // What is no name of a branch is not taken for a part of the database's name.
    assert_eq!(shared(&home, names("postgres", "a@b", &[])).ready().unwrap_err().code, "3D000");
    // The setting cannot be changed into a lie unnoticed by a later startup: it is PostgreSQL's own from then on.
    assert_eq!(client.ask("show nap.branch").unwrap(), "main");
}
