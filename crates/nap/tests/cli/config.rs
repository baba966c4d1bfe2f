//! `nap config` works without a daemon, and tells one that is there.

use nap_control::Request;

use crate::fake::Home;

fn text(home: &Home) -> String {
    std::fs::read_to_string(home.path("nap.toml")).unwrap()
}

#[test]
fn a_change_keeps_comments_and_says_when_it_takes_effect() {
    let home = Home::down();
    std::fs::write(home.path("nap.toml"), "# ours\nsleep_after = \"30s\" # short\n").unwrap();
    let ran = home.nap(&["config", "set", "sleep_after=5min", "port=5444"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(text(&home), "# ours\nsleep_after = \"5min\" # short\nport = 5444\n");
    insta::assert_snapshot!(ran.out, @r#"
    sleep_after = "5min" (takes effect at the next `nap up`)
    port = 5444 (takes effect at the next `nap up`)
    "#);
    assert_eq!(home.nap(&["config", "get", "sleep_after"]).out, "5min\n");
    assert_eq!(home.nap(&["config", "get", "max_awake"]).out, "50\n");
    assert_eq!(home.nap(&["config", "set", "port="]).code, 0);
    assert_eq!(home.nap(&["config", "get", "port"]).out, "\n");
}

#[test]
fn a_daemon_that_is_up_is_told() {
    let home = Home::up();
    let ran = home.nap(&["config", "set", "max_awake=7", "run_as=pg"]);
    insta::assert_snapshot!(ran.out, @r#"
    max_awake = 7 (takes effect now)
    run_as = "pg" (takes effect at the next `nap up`)
    "#);
    assert_eq!(home.asked(), [Request::ReloadConfig]);
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_changed() {
    let home = Home::up();
    std::fs::write(home.path("nap.toml"), "max_awake = 3\n").unwrap();
    for (wrong, why) in [
        ("port=70000", "u16"),
        ("port=65535", "read-only door"),
        ("max_awake=0", "outside"),
        ("max_awake=many", "invalid type"),
        ("sleep_after=30", "is not a span of time"),
        ("ssl=perhaps", "must be \"on\" or \"off\""),
        ("sni_domains=[\".dev\"]", "is not the name of a domain"),
    ] {
        let ran = home.nap(&["config", "set", "run_as=pg", wrong]);
        assert_eq!(ran.code, 2, "{wrong} {ran:?}");
        assert!(ran.err.contains(why), "{wrong} {ran:?}");
        assert_eq!(text(&home), "max_awake = 3\n", "{wrong}");
    }
    let ran = home.nap(&["config", "set", "max_awak=1"]);
    assert_eq!(ran.err, "error: there is no setting \"max_awak\"\nhint: did you mean max_awake?\n");
    assert!(home.asked().is_empty());
}

#[test]
fn check_finds_what_is_wrong_with_the_file() {
    let home = Home::down();
    assert_eq!(home.nap(&["config", "check"]).code, 0, "no file is an empty one");
    std::fs::write(home.path("nap.toml"), "max_awake = 3\nport = \n").unwrap();
    let ran = home.nap(&["config", "check"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("nap.toml cannot be used"), "{ran:?}");
    assert!(ran.err.contains("line 2"), "{ran:?}");
    let path = home.nap(&["config", "path"]).out;
    assert_eq!(path.trim_end(), home.path("nap.toml").to_str().unwrap());
}

#[test]
fn all_settings_are_shown_with_their_source() {
    let home = Home::down();
    std::fs::write(home.path("nap.toml"), "max_awake = 3\n").unwrap();
    insta::assert_snapshot!(home.nap(&["config", "get"]).out);
    let all: serde_json::Value = serde_json::from_str(&home.nap(&["config", "get", "--json"]).out).unwrap();
    let max_awake = all.as_array().unwrap().iter().find(|shown| shown["name"] == "max_awake").unwrap();
    assert_eq!((max_awake["value"].as_str(), max_awake["set"].as_bool()), (Some("3"), Some(true)));
}
