//! Errors have a kind, causes and a hint; the exit code follows from the kind.

use std::os::unix::net::UnixListener;

use crate::fake::Home;

#[test]
fn without_a_daemon_the_commands_that_need_one_say_so() {
    let home = Home::down();
    for command in [
        &["ls"][..],
        &["branch"],
        &["branch", "dev"],
        &["rm", "dev"],
        &["status"],
        &["down"],
        &["restart"],
        &["wake"],
        &["sleep"],
        &["url"],
        &["env"],
        &["psql"],
        &["set", "dev", "sleep_after=1s"],
        &["config", "reload"],
    ] {
        let ran = home.nap(command);
        assert_eq!((ran.code, ran.err.as_str()), (3, "error: not up: run `nap up`\n"), "{command:?}");
        assert_eq!(ran.out, "", "{command:?}");
    }
}

#[test]
fn a_socket_that_a_dead_daemon_left_means_not_up() {
    let home = Home::down();
    drop(UnixListener::bind(home.path("control.sock")).unwrap());
    assert_eq!(home.nap(&["status"]).code, 3);
}

#[test]
fn a_failure_of_the_daemon_is_shown_with_cause_and_hint() {
    let home = Home::up();
    let ran = home.nap(&["wake", "mian"]);
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!(ran.err, @r#"
    error: there is no branch "mian"
      caused by: nobody made it
        at all
    hint: did you mean main?
    "#);
    let ran = home.nap(&["wake", "mian", "--json"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    insta::assert_snapshot!(ran.err, @r#"{"kind":"not-found","message":"there is no branch \"mian\"","cause":["nobody made it\nat all"],"hint":"did you mean main?"}"#);
}

#[test]
fn slips_of_the_user_end_with_2() {
    let home = Home::up();
    for slip in [
        &["fly"][..],
        &[],
        &["wake", "Main"],
        &["wake", "a", "b"],
        &["url", "db@UP"],
        &["up", "--port", "65535"],
        &["up", "--pg", "new"],
        &["up", "--ready-on-stdout"],
        &["set", "dev", "sleep_after"],
        &["set", "dev", "max_awake=1"],
        &["set", "dev", "sleep_after=5m"],
        &["url", "db@"],
        &["up", "--pg", "12"],
        &["config", "get", "sleep_afer"],
        &["config", "set", "sleep_afer=1s"],
        &["logs", "dev", "--daemon"],
    ] {
        let ran = home.nap(slip);
        assert_eq!(ran.code, 2, "{slip:?} {ran:?}");
        assert!(ran.out.is_empty(), "{slip:?} {ran:?}");
    }
    assert!(home.asked().is_empty(), "a slip is found before anything is asked: {:?}", home.asked());
}

#[test]
fn slips_are_json_too() {
    let ran = Home::down().nap(&["--json", "wake", "Main"]);
    let failure: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!((ran.code, failure["kind"].as_str()), (2, Some("usage")));
    assert!(failure["message"].as_str().unwrap().contains("only a-z, 0-9 and -"), "{failure}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let home = Home::down();
    let mut child = home.command(&["config", "get"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_daemon_that_cannot_start_says_why() {
    let home = Home::down();
    std::fs::write(home.path("nap.toml"), "sleep_afer = \"1s\"\n").unwrap();
    let ran = home.nap(&["up"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.starts_with("error: "), "{ran:?}");
    assert!(ran.err.contains("there is no setting \"sleep_afer\" (did you mean sleep_after?)"), "{ran:?}");
    assert!(!home.path("branches").exists(), "nothing was made");
}

#[test]
fn a_span_is_met_with_what_was_meant_and_without_a_line_of_a_file() {
    let home = Home::up();
    let expected =
        "error: sleep_after cannot be \"5m\"\n  caused by: \"5m\" is not a span of time: did you mean 5min?\n";
    assert_eq!(home.nap(&["set", "dev", "sleep_after=5m"]).err, expected);
    assert_eq!(home.nap(&["config", "set", "sleep_after=5m"]).err, expected);
}

#[test]
fn a_bare_word_may_have_meant_a_database() {
    let home = Home::up();
    for command in ["url", "env", "psql"] {
        let ran = home.nap(&[command, "shop"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.ends_with("hint: `nap ls` shows all branches; for a database of main: shop@main\n"), "{ran:?}");
    }
}
