//! Homes in odd places.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nap_testkit::{Output, TestHome, Way, give_to_server_user, process};

/// A home below a directory of this name, with nothing in its nap.toml but a port and the PostgreSQL to use.
fn below(parent: &Path) -> TestHome {
    std::fs::create_dir_all(parent).unwrap();
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).below(parent).build();
    let text = format!(
        "port = {}\npostgres_bin = \"{}\"\nsleep_after = \"10min\"\n",
        home.port(),
        home.install().bin.display()
    );
    std::fs::write(home.path().join("nap.toml"), text).unwrap();
    home
}

/// The whole of it: up, both ways in, asleep and awake, a branch, another daemon, down.
fn works(parent: PathBuf) {
    let home = below(&parent);
    home.up();
    home.psql("main", "create table kept as select 'main'::text as name").ok();
    home.put_to_sleep("main");
    home.nap(&["branch", "feat"]).ok();
    for way in Way::ALL {
        for branch in ["main", "feat"] {
            let said = Output::of(
                home.program_on(way, branch, "psql")
                    .args(["-XAtc", "select name || current_setting('nap.branch') from kept"]),
            );
            assert_eq!(said.ok(), format!("main{branch}"), "{way:?}");
        }
    }
    let said = home.nap(&["psql", "feat", "--", "-XAtc", "show nap.branch"]);
    assert_eq!(said.ok(), "feat");
    let server = home.server_pid("main").unwrap();
    process::kill9(home.daemon_pid());
    home.up();
    assert_eq!(home.server_pid("main"), Some(server), "taken over");
    assert_eq!(home.psql("main", "select name from kept").ok(), "main");
    home.nap(&["restart", "main"]).ok();
    home.nap(&["logs", "main"]).ok();
    home.nap(&["doctor"]);
    home.nap(&["rm", "feat", "--force"]).ok();
    home.nap(&["down"]).ok();
    assert!(process::below(&home.path()).is_empty());
    drop(home);
    std::fs::remove_dir_all(parent).unwrap();
}

#[test]
fn deeper_than_a_socket_path_may_be() {
    let base = PathBuf::from(format!("/tmp/nap-deep-{}", std::process::id()));
    works(base.clone().join("d".repeat(60)).join("e".repeat(60)));
    std::fs::remove_dir_all(base).unwrap();
}

#[test]
fn with_names_that_a_shell_or_a_list_would_split() {
    works(PathBuf::from(format!("/tmp/nap it's, \"so\" $HOME \\ ü {}", std::process::id())));
}

#[test]
fn behind_a_link() {
    let base = PathBuf::from(format!("/tmp/nap-link-{}", std::process::id()));
    std::fs::create_dir_all(base.join("there")).unwrap();
    std::os::unix::fs::symlink(base.join("there"), base.join("here")).unwrap();
    let home = below(&base.join("here"));
    home.up();
    assert_eq!(home.psql("main", "select 1").ok(), "1");
    let direct = home.path().canonicalize().unwrap();
    let said = Output::of(home.nap_command(&["up"]).arg("--home").arg(&direct));
    assert!(said.code != Some(0) || said.stdout.starts_with("already up"), "one home has one daemon: {said}");
    home.nap(&["down"]).ok();
    drop(home);
    std::fs::remove_dir_all(base).unwrap();
}

#[test]
fn a_bare_psql_finds_us_where_libpqs_directory_is_ours_to_write_in() {
    let default = Path::new("/var/run/postgresql");
    // A libpq that was built elsewhere looks elsewhere.
    let debians = nap_testkit::pg_majors()[0].bin.starts_with("/usr/lib/postgresql");
    if !default.is_dir() || !nap_testkit::is_root() || !debians {
        return;
    }
    let base = PathBuf::from(format!("/tmp/nap-bare-{}", std::process::id()));
    let home = below(&base);
    give_to_server_user(&home.path().join("nap.toml"));
    home.up();
    let mut psql = home.program("psql");
    // The port is the test's own; everything else is psql's.
    let said = Output::of(
        psql.args(["-XAtc", "select current_user || ' ' || current_database()"]).env("PGPORT", home.port().to_string()),
    );
    assert_eq!(said.ok(), format!("{role} {role}", role = home.role()));
    let socket = default.join(format!(".s.PGSQL.{}", home.port()));
    assert!(socket.exists());
    home.nap(&["down"]).ok();
    assert!(!socket.exists(), "nothing is left in others' way");
    assert!(!PathBuf::from(format!("{}.lock", socket.display())).exists());
    drop(home);
    std::fs::remove_dir_all(base).unwrap();
}

#[test]
fn a_home_that_the_server_user_cannot_enter_is_refused_before_anything_is_made() {
    if !nap_testkit::is_root() {
        return;
    }
    let parent = tempfile::tempdir().unwrap();
    let closed = parent.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let home = closed.join("home");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nap"));
    let said = Output::of(command.arg("--home").arg(&home).args(["up", "--port", "54996"]));
    assert!(said.fails_with(1).contains("cannot enter"), "{said}");
    assert!(!home.exists());
}
