//! What becomes of a branch: its children, its time.

use nap_testkit::{TestHome, eventually};

use super::{builder, nothing_is_staged};

/// main ─ a ─ b ─ c, and a ─ d, all asleep.
fn tree() -> TestHome {
    let home = builder().build();
    home.up();
    home.sleep("main");
    for (name, parent) in [("a", "main"), ("b", "a"), ("c", "b"), ("d", "a")] {
        home.nap(&["branch", name, "--from", parent]).ok();
    }
    home
}

fn names(home: &TestHome) -> Vec<String> {
    let listed = home.nap(&["ls", "--json"]).json();
    listed.as_array().unwrap().iter().map(|branch| branch["name"].as_str().unwrap().to_owned()).collect()
}

fn parent(home: &TestHome, branch: &str) -> Option<String> {
    home.branch(branch).unwrap()["parent"].as_str().map(str::to_owned)
}

#[test]
fn a_branch_goes_with_its_children_or_without() {
    let home = tree();
    let refused = home.nap(&["rm", "a"]);
    assert!(refused.fails_with(1).contains("branch \"a\" has children: b, d"), "{refused:?}");
    assert!(refused.stderr.contains("--keep-children"), "{refused:?}");

    let at = home.branch("a").unwrap()["branched_at"].clone();
    assert_eq!(home.nap(&["rm", "a", "--keep-children"]).ok(), "removed a");
    assert_eq!(names(&home), ["b", "c", "d", "main"]);
    assert_eq!(parent(&home, "b").as_deref(), Some("main"));
    assert_eq!((parent(&home, "c").as_deref(), parent(&home, "d").as_deref()), (Some("b"), Some("main")));
    assert_eq!(home.branch("b").unwrap()["branched_at"], at);
    assert_eq!(home.psql("postgres@b", "select 2").ok(), "2", "it is whole");

    // What keeps one of them keeps all.
    home.nap(&["set", "c", "protected=on"]).ok();
    let refused = home.nap(&["rm", "b", "--with-children", "--force"]);
    assert!(refused.fails_with(1).contains("branch \"c\" is protected"), "{refused:?}");
    home.nap(&["set", "c", "protected="]).ok();
    assert_eq!(home.nap(&["rm", "b", "--with-children"]).ok(), "removed c\nremoved b");
    assert_eq!(names(&home), ["d", "main"]);

    // And after a new start it is the same.
    home.nap(&["down"]).ok();
    home.up();
    assert_eq!(parent(&home, "d").as_deref(), Some("main"));
}

#[test]
fn a_branch_goes_when_its_time_is_over() {
    let home = builder().build();
    home.up();
    home.sleep("main");
    home.nap(&["branch", "short", "--ttl", "1h"]).ok();
    home.nap(&["branch", "kept", "--ttl", "1ms", "-c", "protected=on", "-c", "sleep_after=7min"]).ok();
    home.nap(&["branch", "child", "--from", "kept"]).ok();
    assert_eq!(home.branch("kept").unwrap()["sleep_after"], "7min");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // Whoever is connected.
        let session = home.connect("postgres@short").await;
        home.nap(&["set", "short", "ttl=1s"]).ok();
        eventually("it has gone", || home.branch("short").is_none().then_some(()));
        assert!(session.batch_execute("select 1").await.is_err());
    });
    assert!(!home.path().join("branches/short").exists());
    assert!(home.branch("kept").is_some());

    // Its child keeps it, until that has gone.
    let refused = home.nap(&["set", "kept", "protected=off"]);
    assert!(refused.fails_with(1).contains("it would be removed at once"), "{refused:?}");
    home.nap(&["set", "kept", "protected=off", "ttl=1s"]).ok();
    assert!(home.nap(&["set", "main", "ttl=1h"]).fails_with(1).contains("cannot have a ttl"));
    eventually("somebody is told", || home.daemon_log().contains("cannot be removed").then_some(()));
    home.nap(&["rm", "child"]).ok();
    eventually("it has gone", || home.branch("kept").is_none().then_some(()));
}

#[test]
fn a_slip_is_found_before_anything_is_made() {
    let home = builder().build();
    home.up();
    for (arguments, said) in [
        (&["--ttl", "2m"][..], "did you mean 2min?"),
        (&["--ttl", "0s"], "`nap rm` does that"),
        (&["-c", "protected=perhaps"], "it is on or off"),
        (&["-c", "sleep_afer=1s"], "did you mean sleep_after?"),
        (&["-c", "max_awake=7"], "a setting of the whole home"),
    ] {
        let refused = home.nap(&[&["branch", "dev"], arguments].concat());
        assert!(refused.fails_with(2).contains(said), "{refused:?}");
    }
    assert_eq!(names(&home), ["main"]);
    nothing_is_staged(&home);
}

#[test]
fn a_branch_is_made_anew_from_its_parent() {
    let home = builder().build();
    home.up();
    home.psql("postgres@main", "create table t (n int); insert into t values (1)").ok();
    home.sleep("main");
    home.nap(&["branch", "dev", "-c", "sleep_after=7min"]).ok();
    home.nap(&["branch", "child", "--from", "dev"]).ok();
    home.psql("postgres@dev", "insert into t values (10)").ok();
    home.psql("postgres@main", "insert into t values (2)").ok();
    let numbers = |branch: &str| {
        home.psql(&format!("postgres@{branch}"), "select string_agg(n::text, ',' order by n) from t").ok().to_owned()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // One that is parked, one in a transaction, and one that listens.
        let listening = home.connect("postgres@dev").await;
        listening.batch_execute("listen a").await.unwrap();
        let parked = home.connect("postgres@dev").await;
        parked.query("select 1", &[]).await.unwrap();
        home.nap(&["sessions", "dev", "--park"]).ok();
        let busy = home.connect("postgres@dev").await;
        busy.batch_execute("begin; insert into t values (11)").await.unwrap();

        let made = home.nap(&["--json", "reset", "dev", "--keep-as", "before"]).json();
        assert_eq!((made["name"].as_str(), made["parent"].as_str()), (Some("dev"), Some("main")), "{made}");
        for session in [listening, parked, busy] {
            assert!(session.batch_execute("select n from t").await.is_err(), "it is ended, whatever it did");
        }
    });
    assert_eq!(numbers("dev"), "1,2");
    assert_eq!(numbers("before"), "1,10");
    assert_eq!(numbers("child"), "1");
    assert_eq!((parent(&home, "child").as_deref(), parent(&home, "before").as_deref()), (Some("before"), Some("main")));
    assert_eq!(home.branch("dev").unwrap()["sleep_after"], "7min");

    // Again, from a parent that is in use, and with nothing kept.
    home.psql("postgres@dev", "insert into t values (20)").ok();
    runtime.block_on(async {
        let busy = home.connect("postgres@main").await;
        busy.batch_execute("begin; insert into t values (3)").await.unwrap();
        let made = home.nap(&["--json", "reset", "dev"]).json();
        assert_eq!(made["parent_in_use"], true, "{made}");
        assert_eq!(numbers("dev"), "1,2");
        busy.batch_execute("commit").await.unwrap();
    });
    assert_eq!(names(&home), ["before", "child", "dev", "main"]);
    nothing_is_staged(&home);
    assert!(home.nap(&["reset", "main"]).fails_with(1).contains("has no parent"));
    home.nap(&["set", "dev", "protected=on"]).ok();
    assert!(home.nap(&["reset", "dev"]).fails_with(1).contains("is protected"));
    assert!(home.nap(&["reset", "child", "--keep-as", "before"]).fails_with(1).contains("exists already"));
    home.nap(&["down"]).ok();
    home.up();
    assert_eq!((numbers("dev"), numbers("before")), ("1,2".into(), "1,10".into()));
}

#[test]
fn a_branch_gets_another_name_or_is_the_default() {
    let home = tree();
    home.psql("postgres@a", "create table own (n int)").ok();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let _session = home.connect("postgres@a").await;
        assert!(home.nap(&["set", "a", "name=z"]).fails_with(1).contains("has 1 session"));
    });
    home.nap(&["set", "a", "port=0"]).fails_with(2);
    assert!(home.nap(&["set", "a", "name=b"]).fails_with(1).contains("\"b\" exists already"));
    assert!(home.nap(&["set", "a", "name=A"]).fails_with(2).contains("is not a branch name"));
    assert!(home.nap(&["set", "a", "name=z", "ttl=2h"]).fails_with(2).contains("name is set alone"));
    eventually("it has no session any more", || home.nap(&["set", "a", "name=z"]).succeeded().then_some(()));
    assert_eq!(names(&home), ["b", "c", "d", "main", "z"]);
    assert_eq!((parent(&home, "b").as_deref(), parent(&home, "z").as_deref()), (Some("z"), Some("main")));
    assert_eq!(home.psql("postgres@z", "select count(*) from own").ok(), "0");
    assert!(
        home.psql_with(&home.url("postgres@z").replace("@z", "@a"), "select 1")
            .fails_with(2)
            .contains("does not exist")
    );
    home.nap(&["branch", "a"]).ok();

    home.nap(&["set", "z", "default=on"]).ok();
    assert!(home.nap(&["set", "z", "default=off"]).fails_with(2).contains("always a default branch"));
    home.nap(&["sleep", "z"]);
    // The default stays the default under another name.
    eventually("it sleeps", || home.nap(&["set", "z", "name=prod"]).succeeded().then_some(()));
    let default = |home: &TestHome| home.nap(&["config", "get", "default_branch", "--quiet"]).ok().to_owned();
    assert!(default(&home).contains("prod"), "{}", default(&home));
    home.nap(&["down"]).ok();
    home.up();
    assert_eq!(names(&home), ["a", "b", "c", "d", "main", "prod"]);
    assert_eq!(parent(&home, "d").as_deref(), Some("prod"));
}
