//! `nap up` and the ends of the daemon.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nap_testkit::process::{self, Signal};
use nap_testkit::{Output, TestHome, eventually};

fn home() -> TestHome {
    TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build()
}

#[test]
fn two_at_once_make_one_daemon() {
    let home = home();
    let started: Vec<_> = (0..3)
        .map(|_| home.nap_command(&["up", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    let ended: Vec<_> = started.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    for output in &ended {
        assert!(output.status.success(), "{output:?}");
    }
    let already =
        ended.iter().filter(|output| String::from_utf8_lossy(&output.stdout).contains("\"already_up\": true"));
    assert_eq!(already.count(), 2, "{ended:?}");
    let daemon = home.daemon_pid();
    let again = home.nap(&["up"]);
    assert!(again.ok().starts_with("already up"), "{again}");
    assert_eq!(home.daemon_pid(), daemon);
    let other = home.nap(&["up", "--port", "19999"]);
    assert!(other.fails_with(1).contains(&format!("already up on port {}", home.port())), "{other}");
}

#[test]
fn another_major_than_mains_is_told_and_not_passed_over() {
    let home = home();
    home.up();
    let own = home.nap(&["ls", "--json"]).json()[0]["major"].to_string();
    let other = own.parse::<u16>().unwrap() + 1;
    for is_up in [true, false] {
        if !is_up {
            home.nap(&["down"]).ok();
        }
        let said = home.nap(&["up", "--pg", &other.to_string()]);
        let words = format!("main exists already with PostgreSQL {own}; --pg is for new clusters");
        assert!(said.fails_with(2).contains(&words), "{said}");
        assert_eq!(home.nap(&["status"]).succeeded(), is_up);
    }
    home.nap(&["up", "--pg", &own]).ok();
    assert!(home.nap(&["up", "--pg", &own]).ok().starts_with("already up"));
}

#[test]
fn every_way_to_stop_is_a_fast_shutdown() {
    let home = home();
    home.up();
    home.psql("main", "create table kept (way text)").ok();
    home.nap(&["down"]).ok();
    for (count, signal) in [Signal::TERM, Signal::INT, Signal::QUIT].into_iter().enumerate() {
        let mut daemon = home
            .nap_command(&["up", "--foreground"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        eventually("it is up", || home.nap(&["status"]).succeeded().then_some(()));
        home.psql("main", &format!("insert into kept values ('{signal:?}')")).ok();
        let server = home.server_pid("main").unwrap();
        process::signal(home.daemon_pid(), signal);
        let ended = daemon.wait().unwrap();
        assert_eq!(ended.code(), Some(0), "{signal:?}");
        assert!(!process::is_alive(server), "{signal:?}: its server has ended before it");
        assert!(process::below(&home.path()).is_empty());
        home.nap(&["status"]).fails_with(3);
        let control = Output::of(home.program("pg_controldata").arg("-D").arg(home.data("main")).env("LC_ALL", "C"));
        assert!(
            control.ok().lines().any(|line| line.starts_with("Database cluster state:") && line.ends_with("shut down")),
            "{control}"
        );
        home.up();
        assert_eq!(home.psql("main", "select count(*) from kept").ok(), (count + 1).to_string());
        home.nap(&["down"]).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn down_tells_the_sessions_and_ends_them() {
    let home = home();
    home.up();
    let client = home.connect("postgres@main").await;
    home.nap(&["down"]).ok();
    let error = client.simple_query("select 1").await.map(drop).unwrap_err();
    assert!(error.code().is_none_or(|code| code.code() == "57P01"), "{error:?}");
    assert!(process::below(&home.path()).is_empty());
    home.nap(&["ls"]).fails_with(3);
}

#[test]
fn a_hangup_reads_the_settings_again() {
    let home = home();
    home.up();
    let toml = home.path().join("nap.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    std::fs::write(&toml, text.replace("\"10min\"", "\"100ms\"")).unwrap();
    home.nap(&["wake", "main"]).ok();
    process::signal(home.daemon_pid(), Signal::HUP);
    home.wait_state("main", "asleep");
    // What cannot be used leaves the old settings in force.
    std::fs::write(&toml, "sleep_after = ").unwrap();
    let daemon = home.daemon_pid();
    process::signal(daemon, Signal::HUP);
    eventually("it says so", || home.nap(&["logs", "--daemon"]).stdout.contains("the old ones hold").then_some(()));
    home.nap(&["wake", "main"]).ok();
    home.wait_state("main", "asleep");
    assert_eq!(home.daemon_pid(), daemon);
    std::fs::write(&toml, text).unwrap();
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_afer", "\"5s\"").build();
    let said = home.nap(&["up"]);
    let text = said.fails_with(1);
    assert!(text.contains("sleep_afer") && text.contains("did you mean sleep_after?"), "{said}");
    assert!(!home.path().join("branches/main").exists());
}

#[test]
fn the_clients_of_a_shell_follow_nap_env() {
    let home = home();
    home.up();
    home.nap(&["branch", "feat"]).ok();
    let bin = home.install().bin.display().to_string();
    let mut shell = std::process::Command::new("bash");
    let nap = home.nap_command(&[]).get_program().to_owned();
    let script = format!(
        "set -e; cd /; export PATH='{bin}':$PATH; eval \"$('{nap}' --home '{home}' env feat)\"; psql -XAtc 'show nap.branch'; createdb made; psql -Xqc 'create table x()' made; pg_dump -s made | grep -c '^CREATE TABLE'; eval \"$('{nap}' --home '{home}' env --tools feat)\"; psql -XAtc 'show nap.branch' made; dropdb made; psql -XAt -d \"$DATABASE_URL\" -c 'show nap.branch'",
        nap = nap.to_string_lossy(),
        home = home.path().display(),
    );
    let said = Output::of(shell.args(["-c", &script]).env_remove("PGHOST").env_remove("PGPORT"));
    assert_eq!(said.ok().lines().collect::<Vec<_>>(), ["feat", "1", "feat", "feat"], "{said}");
    let dotenv = home.nap(&["env", "--dotenv", "feat"]);
    assert!(dotenv.ok().lines().any(|line| line == format!("PGPORT={}", home.port())), "{dotenv}");
}
