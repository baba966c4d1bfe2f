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
    assert_eq!(home.nap(&["logs", "--daemon"]).out, "", "no log yet");
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
    assert!(what.contains(&format!("(pid {})", std::process::id())), "{what}");
}
