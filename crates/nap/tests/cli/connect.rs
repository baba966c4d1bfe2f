//! The ways to a database: URL, environment, psql, and what `nap up` says.

use std::os::unix::fs::PermissionsExt as _;

use nap_control::Request;

use crate::fake::{Home, Ran};

#[test]
fn a_url_for_every_way_to_name_a_database() {
    let home = Home::up();
    let url = |target: &[&str]| home.nap(&[&["url"], target].concat()).out;
    assert_eq!(url(&[]), "postgresql://alice:p%27%40@localhost:5433/alice@main\n");
    assert_eq!(url(&["dev"]), "postgresql://alice:p%27%40@localhost:5433/alice@dev\n");
    assert_eq!(url(&["my shop@dev"]), "postgresql://alice:p%27%40@localhost:5433/my%20shop@dev\n");
    let json: serde_json::Value = serde_json::from_str(&url(&["--json"])).unwrap();
    assert_eq!(json["connection"]["port"], 5433);
}

#[test]
fn a_shell_takes_the_environment() {
    let home = Home::up();
    let script =
        format!("eval \"$({} env shop@dev)\"; env | grep -E '^(PG|DATABASE_URL)' | sort", env!("CARGO_BIN_EXE_nap"));
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", &script])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("NAP_HOME", home.dir.path());
    let ran: Ran = shell.output().unwrap().into();
    insta::assert_snapshot!(ran.out, @r"
    DATABASE_URL=postgresql://alice:p%27%40@localhost:5433/shop@dev
    PGDATABASE=shop
    PGHOST=/h o/run/dev
    PGPORT=5433
    PGUSER=alice
    ");
}

#[test]
fn tools_and_dotenv_files_have_theirs() {
    let home = Home::up();
    insta::assert_snapshot!(home.nap(&["env", "--tools", "--dotenv", "shop@dev"]).out, @r#"
    PGHOST=localhost
    PGPORT=5433
    PGUSER=alice@dev
    PGDATABASE=shop
    PGPASSWORD="p'@"
    DATABASE_URL=postgresql://alice%40dev:p%27%40@localhost:5433/shop
    "#);
}

#[test]
fn psql_is_the_one_beside_the_servers_and_goes_through_the_door() {
    let home = Home::up();
    std::fs::create_dir(home.path("bin")).unwrap();
    let psql = home.path("bin/psql");
    std::fs::write(&psql, "#!/bin/sh\necho \"$PGHOST $PGPORT $PGUSER $PGDATABASE ${PGSERVICE-none} $*\"\nexit 7\n")
        .unwrap();
    std::fs::set_permissions(&psql, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = home.command(&["psql", "shop@dev", "--", "-c", "select 1"]);
    // Root does not run what others could change, as in /tmp: it takes the one on its PATH.
    let path = format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap());
    if nap_testkit::is_root() {
        command.env("PATH", path);
    }
    let ran: Ran = command.env("PGSERVICE", "elsewhere").output().unwrap().into();
    assert_eq!((ran.code, ran.out.as_str()), (7, "/h o/run/dev 5433 alice shop none -c select 1\n"), "{ran:?}");
}

#[test]
fn up_again_says_that_it_is_up() {
    let home = Home::up();
    let ran = home.nap(&["up"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("already up on localhost, port 5433;"), "{ran:?}");
    assert!(ran.out.contains("psql 'postgresql") || ran.out.contains("psql postgresql"), "{ran:?}");
    assert_eq!(home.nap(&["up", "--port", "5433", "--quiet"]).out, "");
    let json: serde_json::Value = serde_json::from_str(&home.nap(&["up", "--json"]).out).unwrap();
    assert_eq!(json["already_up"], true);
    let ran = home.nap(&["up", "--port", "6000"]);
    assert_eq!((ran.code, ran.err.lines().next().unwrap()), (1, "error: already up on port 5433, not 6000"));
    let ran = home.nap(&["up", "--foreground"]);
    assert_eq!(ran.code, 1, "{ran:?}");
}

#[test]
fn commands_ask_what_they_are_told() {
    let home = Home::up();
    assert_eq!(home.nap(&["sleep", "dev"]).out, "asleep\n");
    assert_eq!(home.nap(&["sleep", "-q"]).out, "");
    assert_eq!(home.nap(&["restart", "--json"]).out, "{\n  \"done\": true\n}\n");
    assert_eq!(home.nap(&["rm", "dev", "--force"]).out, "removed dev\n");
    assert_eq!(home.nap(&["set", "dev", "sleep_after=never"]).code, 0);
    let dev = || "dev".parse().unwrap();
    let asked = [
        Request::Sleep { branch: Some(dev()) },
        Request::Sleep { branch: None },
        Request::Restart { branch: None },
        Request::RemoveBranch { name: dev(), force: true },
        Request::SetBranch { name: dev(), settings: vec![("sleep_after".into(), "never".into())] },
    ];
    assert_eq!(home.asked(), asked);
}

#[test]
fn down_waits_for_a_process_that_is_gone() {
    // The script's process number means nobody, so it is gone at once.
    let home = Home::up();
    let ran = home.nap(&["down"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "down\n"), "{ran:?}");
    assert_eq!(home.asked(), [Request::Status, Request::Down]);
}
