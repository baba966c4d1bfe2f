//! Logs and the doctor work without a daemon.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use crate::fake::Home;

fn with_log(name: &str, text: &str) -> Home {
    let home = Home::down();
    let log = home.path("branches").join(name).join("log");
    std::fs::create_dir_all(&log).unwrap();
    std::fs::write(log.join("postgres.log"), text).unwrap();
    home
}

#[test]
fn logs_show_the_last_lines_of_a_branch() {
    let home = with_log("main", "one\ntwo\nthree\n");
    assert_eq!(home.nap(&["logs", "-n", "2"]).out, "two\nthree\n");
    assert_eq!(home.nap(&["logs", "main"]).out, "one\ntwo\nthree\n");
    let ran = home.nap(&["logs", "--daemon"]);
    assert_eq!(
        (ran.out.as_str(), ran.err.as_str()),
        ("", "note: the log is empty: no daemon has run in this home yet\n")
    );
    let ran = home.nap(&["logs", "mian"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "error: there is no branch \"mian\"\nhint: did you mean main?\n"));
}

#[test]
fn a_log_is_followed() {
    let home = with_log("main", "one\n");
    let mut child = home.command(&["logs", "-f"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    let path = home.path("branches/main/log/postgres.log");
    writeln!(std::fs::File::options().append(true).open(&path).unwrap(), "two").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    std::fs::rename(&path, home.path("branches/main/log/postgres.log.1")).unwrap();
    std::fs::write(&path, "three\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "three");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_doctor_names_a_cure_for_what_is_wrong() {
    let home = Home::down();
    std::fs::write(home.path("nap.toml"), "port = 1\nmax_awake = 0\n").unwrap();
    let ran = home.nap(&["doctor"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("FAIL  settings: "), "{ran:?}");
    assert!(ran.out.contains("cure: correct the file"), "{ran:?}");
    assert!(ran.out.contains("warn  daemon: not up\n        cure: `nap up` starts it\n"), "{ran:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn the_doctor_finds_the_holder_of_the_port() {
    let home = Home::down();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::fs::write(home.path("nap.toml"), format!("port = {port}\n")).unwrap();
    let ran = home.nap(&["doctor", "--json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_str(&ran.out).unwrap();
    let found = findings.iter().find(|finding| finding["name"] == "port").unwrap();
    assert_eq!(found["verdict"], "fail");
    let what = found["what"].as_str().unwrap();
    assert!(what.contains(&format!("(PID {})", std::process::id())), "{what}");
}

#[test]
fn a_default_branch_that_is_not_there_is_named_by_its_setting() {
    let home = with_log("main", "one\n");
    let ran = home.nap(&["config", "set", "default_branch=mian"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "error: there is no branch \"mian\"\nhint: did you mean main?\n"));
    assert_eq!(home.nap(&["config", "set", "default_branch=main"]).code, 0);
    std::fs::write(home.path("nap.toml"), "default_branch = \"dev\"\n").unwrap();
    let cure = "the setting default_branch names it: `nap config set default_branch=NAME` names one that is there";
    let ran = home.nap(&["logs"]);
    assert_eq!(ran.err, format!("error: there is no branch \"dev\"\nhint: {cure}\n"));
    let ran = home.nap(&["doctor"]);
    assert!(
        ran.out.contains(&format!("FAIL  default branch: there is no branch \"dev\"\n        cure: {cure}\n")),
        "{ran:?}"
    );
}

#[test]
fn the_doctor_promises_psql_only_on_the_port_that_is_set() {
    let home = Home::down();
    let sockets = home.path("sockets");
    std::fs::create_dir(&sockets).unwrap();
    let settings = format!("port = 54318\nunix_socket_directory = \"{}\"\n", sockets.display());
    std::fs::write(home.path("nap.toml"), settings).unwrap();
    std::fs::write(sockets.join(".s.PGSQL.54318.lock"), format!("{}\n", i32::MAX)).unwrap();
    let ran = home.nap(&["doctor"]);
    assert!(ran.out.contains("bare psql: will work with -p 54318: "), "{ran:?}");
    assert!(ran.out.contains("warn  socket lock: "), "{ran:?}");
}
