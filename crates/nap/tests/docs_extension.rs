//! The commands of docs/postgresql.md with an extension, word for word, in a shell, with what it says that they print.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::path::Path;
use std::process::Command;

use nap_testkit::{Install, Output, TestHome};

const MARK: &str = "<!-- driven by a test, word for word -->\n```console\n";
/// Where Debian's packages put PostgreSQL 15, and where its extensions are named.
const BIN: &str = "/usr/lib/postgresql/15/bin";
const CONTROL: &str = "/usr/share/postgresql/15/extension/postgis.control";

/// The commands below the mark, each with what it prints.
fn commands(page: &str) -> Vec<(String, String)> {
    let block = page.split_once(MARK).unwrap().1.split_once("```").unwrap().0;
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push((command.to_owned(), String::new())),
            None => commands.last_mut().unwrap().1.push_str(&format!("{line}\n")),
        }
    }
    commands
}

#[test]
fn slow_an_extension_works_as_its_page_says_and_its_branch_has_it_too() {
    if !Path::new(CONTROL).exists() {
        let can_be_had = Path::new(BIN).exists() && Path::new("/usr/bin/apt-get").exists();
        return assert!(!can_be_had || !nap_testkit::is_full_run(), "./test installs it");
    }
    let install = Install::at(Path::new(BIN)).unwrap();
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).install(&install).build();
    home.up();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/postgresql.md")).unwrap();
    let nap = home.nap_command(&[]);
    let program = Path::new(nap.get_program()).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.display());
    let mut commands = commands(&page);
    let (install, _) = commands.remove(0);
    assert!(install.contains("apt-get install postgresql-15-postgis-3"), "{install}");
    assert!(commands.len() >= 8, "{commands:?}");
    for (command, printed) in commands {
        // Its server sleeps in between, and wakes with the extension.
        home.put_to_sleep("main");
        let mut shell = Command::new("bash");
        shell.args(["-c", &command]).env_clear().env("PATH", &path).env("HOME", "/").env("NAP_HOME", home.path());
        let said = Output::of(&mut shell);
        said.ok();
        // The words of `nap branch` are its own matter.
        assert!(printed.is_empty() || said.stdout.ends_with(&printed), "{printed:?}: {said}");
    }
}
