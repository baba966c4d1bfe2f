//! The ways to a database: URL, environment, psql, and what `nap up` says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use nap_control::{Children, Request};

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
    // Root does not run what others could change, as in /tmp: it takes the one on its PATH.
    let path = format!("{}:{}", home.path("bin").display(), std::env::var("PATH").unwrap());
    let path = if nap_testkit::is_root() { path } else { std::env::var("PATH").unwrap() };
    for (arguments, seen) in [
        (&["shop@dev", "--", "-c", "select 1"][..], "dev 5433 alice shop none -c select 1"),
        (&["shop@dev", "-Atc", "select 1"], "dev 5433 alice shop none -Atc select 1"),
        (&["dev", "-h", "--help"], "dev 5433 alice alice none -h --help"),
        (&["-c", "select 1"], "main 5433 alice alice none -c select 1"),
        (&["--quiet", "-At", "-q"], "main 5433 alice alice none -At -q"),
        (&["--", "-l"], "main 5433 alice alice none -l"),
        (&["--", "-q"], "main 5433 alice alice none -q"),
        (&[], "main 5433 alice alice none "),
    ] {
        let mut command = home.command(&[&["psql"], arguments].concat());
        let ran: Ran = command.env("PATH", &path).env("PGSERVICE", "elsewhere").output().unwrap().into();
        assert_eq!((ran.code, ran.out), (7, format!("/h o/run/{seen}\n")), "{arguments:?} {}", ran.err);
    }
    assert_eq!(home.nap(&["psql", "Shop", "-l"]).code, 2, "no branch has such a name");
}

#[test]
fn up_again_says_that_it_is_up() {
    let home = Home::up();
    let ran = home.nap(&["up"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert!(ran.out.starts_with("already up on localhost, port 5433;"), "{ran:?}");
    assert!(ran.out.contains("\n    postgresql://"), "{ran:?}");
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
        Request::List { disk: false },
        Request::Restart { branch: None },
        Request::RemoveBranch { name: dev(), force: true, children: Children::Refuse },
        Request::SetBranch { name: dev(), settings: vec![("sleep_after".into(), "never".into())] },
    ];
    assert_eq!(home.asked(), asked);
}

/// Where the daemon that a process of its own plays has its home.
const PLAYED_HOME: &str = "NAP_TEST_PLAYED_HOME";

/// The daemon of the next test, in a process of its own; else there is nothing to do.
#[test]
fn plays_a_daemon_that_goes_down() {
    let Some(home) = std::env::var_os(PLAYED_HOME) else { return };
    let socket = std::path::Path::new(&home).join("control.sock");
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        // Whoever only looks who listens asks nothing.
        if !line.is_empty() {
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), Request::Down);
            writeln!(stream, r#"{{"Ok":{{"answer":"done"}}}}"#).unwrap();
            return;
        }
    }
}

#[test]
fn down_waits_for_the_process_that_listens() {
    let home = Home::down();
    let mut daemon = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "connect::plays_a_daemon_that_goes_down"])
        .env(PLAYED_HOME, home.dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    nap_testkit::eventually("it listens", || {
        std::os::unix::net::UnixStream::connect(home.path("control.sock")).is_ok().then_some(())
    });
    let ran = home.nap(&["down"]);
    assert!(daemon.try_wait().unwrap().is_some_and(|ended| ended.success()), "it has ended: {ran:?}");
    assert_eq!((ran.code, ran.out.as_str()), (0, "down\n"), "{ran:?}");
}
