//! PostgreSQL by apt, without Debian's own cluster: only while it is installed.

use std::path::Path;
use std::process::Command;

use nap_testkit::{Output, Sandbox};

use crate::newcomer::Newcomer;

/// Debian's package asks for this; the file is ours.
const SETTINGS: &str = "/etc/postgresql-common/createcluster.d";

/// It tells what Debian's package would be told, and ends as it is told to.
const APT_GET: &str = r#"#!/bin/sh
here=${0%/*}
echo "$1" >>"$here/apt-asked"
[ "$1" = install ] || exit 0
cat /etc/postgresql-common/createcluster.d/*.conf >"$here/apt-saw"
outcome=$(cat "$here/outcome")
[ "$outcome" != killed ] || kill -TERM $PPID
[ "$outcome" = installed ]
"#;

/// Installs with this outcome; how it ended, what the package was told, and the files that are there afterwards.
fn install(machine: &Sandbox, newcomer: &Newcomer, outcome: &str) -> (Output, String, String) {
    newcomer.write("bin/outcome", outcome);
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", ". \"$0\"; install_postgres; echo done"]);
    command.arg(newcomer.path("clone/scripts/lib.sh"));
    command.env("PATH", format!("{}:/usr/bin:/bin", newcomer.path("bin").display()));
    let said = Output::of(&mut machine.inside(&command));
    let saw = std::fs::read_to_string(newcomer.path("bin/apt-saw")).unwrap();
    let mut left = Command::new("sh");
    left.args(["-c", "cd \"$0\" && grep -r ''  . || true", SETTINGS]);
    (said, saw, Output::of(&mut machine.inside(&left)).ok().to_owned())
}

/// `None`: not root, or no Debian.
fn machine() -> Option<(Sandbox, Newcomer)> {
    let etc = Path::new(SETTINGS).parent().filter(|etc| etc.exists())?;
    let machine = Sandbox::with(&format!("mount -t tmpfs none {}", etc.display()))?;
    let newcomer = Newcomer::user();
    newcomer.write("bin/apt-get", APT_GET);
    Some((machine, newcomer))
}

#[test]
fn debians_cluster_is_held_back_only_while_postgresql_is_installed() {
    let Some((machine, newcomer)) = machine() else { return };
    let ours = "create_main_cluster = false\n";
    let (said, saw, left) = install(&machine, &newcomer, "installed");
    assert_eq!((said.ok(), saw.as_str(), left.as_str()), ("done", ours, ""), "{said}");
    let (said, saw, left) = install(&machine, &newcomer, "failed");
    assert!(!said.succeeded() && said.stdout.is_empty(), "{said}");
    assert_eq!((saw.as_str(), left.as_str()), (ours, ""), "{said}");
    let asked = std::fs::read_to_string(newcomer.path("bin/apt-asked")).unwrap();
    assert_eq!(asked, "install\ninstall\nupdate\ninstall\n", "with a newer list of packages it is tried again");
    let (said, saw, left) = install(&machine, &newcomer, "killed");
    assert!(!said.succeeded(), "{said}");
    assert_eq!((saw.as_str(), left.as_str()), (ours, ""), "{said}");
}

#[test]
fn what_the_user_has_said_of_clusters_stays() {
    let Some((machine, newcomer)) = machine() else { return };
    let mut write = Command::new("sh");
    let script = "mkdir \"$0\" && echo 'create_main_cluster = true' >\"$0/mine.conf\"";
    Output::of(&mut machine.inside(write.args(["-c", script, SETTINGS]))).ok();
    let (said, saw, left) = install(&machine, &newcomer, "installed");
    let theirs = ("create_main_cluster = true\n", "./mine.conf:create_main_cluster = true");
    assert_eq!((said.ok(), (saw.as_str(), left.as_str())), ("done", theirs), "{said}");
}
