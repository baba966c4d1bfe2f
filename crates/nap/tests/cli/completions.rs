//! What the tab key gives, in real shells.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::fake::Home;

/// Types a line into an interactive shell of its own terminal, presses the tab key, and prints the screen's text.
const TYPIST: &str = r#"
import os, pty, select, sys, time
shell, setup, line = sys.argv[1].split(), sys.argv[2], sys.argv[3]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(shell[0], shell)
def until(text):
    seen, deadline = "", time.monotonic() + 20
    while text not in seen and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    return seen
os.write(terminal, (setup + "; echo set'-'up\n").encode())
until("set-up")
# What is completed stands on the screen when the end of the line does.
os.write(terminal, line.encode() + b"\t")
time.sleep(0.5)
os.write(terminal, b"\x05;echo d'on'e\n")
print(until("\ndone"))
os.write(terminal, b"exit\n")
"#;

/// A home with three branches, and no daemon.
fn home() -> Home {
    let home = Home::down();
    for name in ["main", "feature", "fix-1"] {
        std::fs::create_dir_all(home.path("branches").join(name)).unwrap();
    }
    home
}

fn typed(home: &Home, shell: &str, setup: &str, line: &str) -> String {
    let mut command = Command::new("python3");
    let directory = std::path::Path::new(env!("CARGO_BIN_EXE_nap")).parent().unwrap();
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    command.args(["-c", TYPIST, shell, setup, line]).env("PATH", path).env("TERM", "dumb").env("PS1", "$ ");
    let output = command.env("NAP_HOME", home.dir.path()).env("HOME", home.dir.path()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn has(shell: &str) -> bool {
    let there = ["/bin", "/usr/bin"].iter().any(|dir| std::path::Path::new(dir).join(shell).exists());
    assert!(there || !nap_testkit::is_full_run(), "{shell} is missing");
    there
}

#[test]
fn bash_completes_branches_and_databases_of_branches() {
    if !has("bash") {
        return;
    }
    let home = home();
    let setup = "source <(nap completions bash); bind 'set show-all-if-ambiguous on'; bind 'set bell-style none'";
    let bash = |line: &str| typed(&home, "bash --norc --noprofile -i", setup, line);
    let all = bash("nap psql ");
    assert!(all.contains("feature") && all.contains("fix-1") && all.contains("main"), "{all}");
    assert!(!all.contains("--json"), "options are told to who begins one: {all}");
    assert!(bash("nap psql fe").contains("nap psql feature ;"), "{}", bash("nap psql fe"));
    assert!(bash("nap url shop@fe").contains("nap url shop@feature ;"), "the part before the @ stays");
    assert!(bash("nap branch new --from fi").contains("--from fix-1 ;"));
    assert!(bash("nap serv").contains("nap service ;"));
    assert!(bash("nap psql --js").contains("nap psql --json ;"));
}

#[test]
fn zsh_completes_branches() {
    if !has("zsh") {
        return;
    }
    let home = home();
    let setup = "autoload -U compinit; compinit -u; source <(nap completions zsh)";
    let seen = typed(&home, "zsh -f -i", setup, "nap url shop@fe");
    assert!(seen.contains("shop@feature"), "{seen}");
}

#[test]
fn fish_completes_branches() {
    if !has("fish") {
        return;
    }
    let home = home();
    let directory = std::path::Path::new(env!("CARGO_BIN_EXE_nap")).parent().unwrap();
    let script = "nap completions fish | source; complete -C 'nap url shop@f'";
    let path = format!("{}:{}", directory.display(), std::env::var("PATH").unwrap());
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c", script]).env("PATH", path).env("HOME", home.dir.path());
    let output = fish.env("NAP_HOME", home.dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let first: Vec<&str> = said.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(first, ["shop@feature", "shop@fix-1"], "{said}");
}

#[test]
fn an_answer_comes_before_anybody_notices() {
    let home = home();
    let ask = || {
        let begun = Instant::now();
        let mut command = home.command(&["--", "nap", "--home", &home.dir.path().display().to_string(), "wake", ""]);
        let output = command.env("NAP_HOME", "/nowhere").env("NAP_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "4");
        let output = output.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.starts_with("feature\nfix-1\nmain"), "the home that is being typed: {said}");
        begun.elapsed()
    };
    // The best of some: a busy machine is not what is measured.
    let best = (0..10).map(|_| ask()).min().unwrap();
    assert!(best < Duration::from_millis(50), "{best:?}");
}
