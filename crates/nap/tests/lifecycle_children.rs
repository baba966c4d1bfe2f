//! What a server inherits: nothing of whoever started the daemon, and who the daemon is.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

use nap_testkit::TestHome;

/// `nap up` by a shell that has a file open and says odd things in its environment.
fn up_with_baggage(home: &TestHome, file: &std::path::Path) {
    let nap = home.nap_command(&["up"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 9>\"$0\"; exec \"$@\""]).arg(file).arg(nap.get_program()).args(nap.get_args());
    for (name, value) in nap.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("TMPDIR", "/nowhere").env("PGDATABASE", "elsewhere").env("LC_ALL", "tlh_QO");
    assert!(shell.status().unwrap().success());
}

#[test]
fn no_descriptor_and_no_temper_of_the_starter_reaches_a_server() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    home.nap(&["down"]).ok();
    let file = home.beside().join("open");
    up_with_baggage(&home, &file);
    home.nap(&["wake"]).ok();
    let pid = home.server_pid("main").unwrap();
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok())
        .collect();
    assert!(!open.contains(&file), "{open:?}");

    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let has = |name: &str| environment.split('\0').any(|entry| entry.split('=').next() == Some(name));
    for gone in ["TMPDIR", "PGDATABASE", "LC_ALL"] {
        assert!(!has(gone), "{gone} in {environment}");
    }
    let uid = nap_testkit::process::user_id(pid).unwrap();
    let passwd = Command::new("getent").args(["passwd", &uid.to_string()]).output().unwrap();
    let passwd = String::from_utf8(passwd.stdout).unwrap();
    let own = passwd.split(':').nth(5).unwrap();
    assert!(environment.split('\0').any(|entry| entry == format!("HOME={own}")), "{own}: {environment}");
}
