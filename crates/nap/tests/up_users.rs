//! Who runs it: an ordinary user without root, and systems that lack what is needed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use nap_testkit::{Output, TestHome, is_root, process};

const NOBODY: u32 = 65_534;

/// `nap` as a user who has a home directory and nothing else, and who names no home of ours.
fn as_nobody(home: &TestHome, directory: &Path, program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program).args(arguments);
    command.env_clear().env("HOME", directory).env("PATH", "/usr/bin:/bin").current_dir("/");
    command.env("PGPORT", home.port().to_string());
    command
}

#[test]
fn an_ordinary_user_needs_no_root() {
    if !is_root() {
        // Then every other test is this one.
        return;
    }
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let directory = home.beside().join("nobody");
    let ours = directory.join(".local/share/napgres");
    std::fs::create_dir_all(&ours).unwrap();
    let toml = format!(
        "port = {}\npostgres_bin = \"{}\"\nsleep_after = \"200ms\"\n",
        home.port(),
        home.install().bin.display()
    );
    std::fs::write(ours.join("nap.toml"), toml).unwrap();
    for path in [
        directory.clone(),
        directory.join(".local"),
        directory.join(".local/share"),
        ours.clone(),
        ours.join("nap.toml"),
    ] {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let nap = home.nap_command(&[]).get_program().to_owned();
    let nap = |arguments: &[&str]| Output::of(&mut as_nobody(&home, &directory, Path::new(&nap), arguments));
    let said = nap(&["up"]);
    assert!(said.ok().contains(&ours.display().to_string()), "{said}");
    let url = nap(&["url"]).ok().to_owned();
    assert!(url.starts_with("postgresql://nobody:") && url.ends_with("/nobody@main"), "{url}");
    assert_eq!(home.psql_with(&url, "select current_user || ' ' || current_database()").ok(), "nobody nobody");
    assert_eq!(home.psql_with(&url, "select rolsuper from pg_roles where rolname = current_user").ok(), "t");
    assert_eq!(nap(&["psql", "--", "-XAtc", "select 1"]).ok(), "1");
    let status = nap(&["status", "--json"]).json();
    let daemon = status["pid"].as_i64().unwrap() as i32;
    assert_eq!(process::user_id(daemon), Some(NOBODY));
    nap(&["wake"]).ok();
    let server = std::fs::read_to_string(ours.join("branches/main/data/postmaster.pid")).unwrap();
    let server: i32 = server.lines().next().unwrap().parse().unwrap();
    assert_eq!(process::user_id(server), Some(NOBODY));
    nap(&["down"]).ok();
    assert!(process::below(&ours).is_empty() && !process::is_alive(daemon) && !process::is_alive(server));
}

#[test]
fn a_major_that_is_not_there_is_an_error_with_the_command_that_brings_it() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let said = home.nap(&["up", "--pg", "99"]);
    let text = said.fails_with(1);
    assert!(text.contains("99"), "{said}");
    assert!(text.contains("hint:") && text.contains("install"), "{said}");
    assert!(text.contains(&home.install().major.to_string()), "it names what is there: {said}");
    assert!(!home.path().join("branches/main").exists());
    let old = home.nap(&["up", "--pg", "12"]);
    assert_ne!(old.code, Some(0), "{old}");
    home.nap(&["up", "--pg", &home.install().major.to_string()]).ok();
}

#[test]
fn without_postgresql_the_way_to_it_is_named() {
    if !is_root() || !Path::new("/usr/lib/postgresql").is_dir() {
        return;
    }
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let toml = home.path().join("nap.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("postgres_bin")).collect();
    std::fs::write(&toml, kept.join("\n")).unwrap();
    // In a file system of its own, so that nobody else misses it.
    let nap = home.nap_command(&[]).get_program().to_string_lossy().into_owned();
    let hide = "for d in /usr/lib/postgresql /usr/pgsql-*; do [ ! -d $d ] || mount -t tmpfs none $d; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", hide, "sh", &nap, "--home"]).arg(home.path()).arg("up");
    let said = Output::of(command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"));
    if said.stderr.contains("unshare:") || said.stderr.contains("mount:") {
        assert!(!nap_testkit::is_full_run(), "{said}");
        return;
    }
    let text = said.fails_with(1);
    assert!(text.contains("PostgreSQL") && text.contains("hint:") && text.contains("install"), "{said}");
    if Path::new("/etc/debian_version").exists() {
        assert!(text.contains("apt-get install") || text.contains("apt install"), "{said}");
    }
    assert!(!home.path().join("branches/main").exists(), "nothing half-made shows");
    home.up();
}
