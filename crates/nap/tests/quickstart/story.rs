//! From a fresh clone to a row read from a PostgreSQL that was asleep; and again; and with a newer nap.

use std::io::Write as _;
use std::path::Path;

use nap_testkit::{Debian, Output};

use crate::newcomer::Newcomer;

/// The names in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The URL that it prints at its end.
fn url(said: &Output) -> String {
    let mut lines = said.ok().lines().rev().map(str::trim);
    lines.find(|line| line.starts_with("postgresql://")).unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// What it printed, with what differs from run to run left out.
fn outline(said: &Output) -> Vec<String> {
    let line = |line: &str| match line {
        line if line.starts_with("PostgreSQL: ") => "PostgreSQL: …".to_owned(),
        line if line.starts_with("main *  asleep ") => "main asleep".to_owned(),
        line if line.starts_with("main *  awake ") => "main awake".to_owned(),
        line => line.trim().to_owned(),
    };
    said.ok().lines().filter(|line| !line.is_empty()).map(line).collect()
}

/// The whole of it is one page, of which this is what matters, in this order.
fn assert_tells(newcomer: &Newcomer, said: &Output, up: &str) {
    let installed = newcomer.installed().display().to_string();
    let lines = outline(said);
    let mut rest = lines.iter();
    for wanted in [
        "This installs:",
        &format!("- nap, built here, as {installed}"),
        "PostgreSQL: …",
        "$ nap up",
        up,
        "$ nap sleep main",
        "$ nap ls",
        "main asleep",
        "good morning",
        "$ nap ls",
        "main awake",
        "$ nap sleep main",
        "$ nap ls",
        "main asleep",
        "Stop it: nap down. What there is: nap --help.",
        &format!("export PATH=\"{}:$PATH\"", Path::new(&installed).parent().unwrap().display()),
    ] {
        assert!(rest.any(|line| line.starts_with(wanted) || line.ends_with(wanted)), "{wanted}: {said}");
    }
    assert_eq!(rest.next(), None);
}

fn story(newcomer: &Newcomer) {
    let debian = Debian::on_the_first_port();
    let of_debian = || debian.as_ref().map(|(debian, _)| (debian.pid(), debian.files()));
    let before = of_debian();
    let first = newcomer.quickstart(&[]);
    assert_tells(newcomer, &first, "up on localhost, port ");
    let (built, url, daemon) = (newcomer.path("bin/asked"), url(&first), newcomer.daemon());
    assert_eq!(std::fs::read_to_string(built).unwrap(), "build --release --locked --quiet -p nap-nap\n");
    let notes: Vec<&str> = first.stderr.lines().filter(|line| line.starts_with("note: ")).collect();
    match notes[..] {
        [] => assert!(debian.is_none(), "{first}"),
        [note] => assert!(note.starts_with("note: port 5432 belongs to ") && !url.contains(":5432/"), "{first}"),
        _ => panic!("{first}"),
    }
    let quiet = |said: &Output| said.stderr.trim().ends_with("seconds, from a server that was asleep)");
    assert!(quiet(&first) && first.stderr.trim().lines().count() == 1 + notes.len(), "{first}");
    newcomer.psql(&url, "create table kept as select current_setting('nap.branch') as branch").ok();
    let kept = || newcomer.psql(&url, "select branch from kept").ok().to_owned();

    let second = newcomer.quickstart(&[]);
    assert_tells(newcomer, &second, "already up on localhost, port ");
    assert!(quiet(&second) && second.stderr.trim().lines().count() == 1, "{second}");
    assert_eq!((self::url(&second), newcomer.daemon(), kept()), (url.clone(), daemon, "main".to_owned()));

    // Another build. What follows the program in its file is none of its business.
    let mut file = std::fs::File::options().append(true).open(newcomer.path("built")).unwrap();
    file.write_all(b"newer").unwrap();
    drop(file);
    let third = newcomer.quickstart(&[]);
    assert_tells(newcomer, &third, "up on localhost, port ");
    assert!(third.ok().contains("\nA daemon of an earlier build is up: it makes way for this one.\n"), "{third}");
    assert!(newcomer.daemon() != daemon && self::url(&third) == url, "{third}");
    assert_eq!(kept(), "main");
    assert_eq!(of_debian(), before, "nothing of Debian's was touched");
}

#[test]
fn a_user_gets_it_below_the_own_home_directory() {
    let newcomer = Newcomer::user();
    story(&newcomer);
    let below = |directory: &str| names(&newcomer.path("home").join(directory));
    assert_eq!((below(""), below(".local")), (vec![".local".to_owned()], vec!["bin".to_owned(), "share".to_owned()]));
    assert_eq!((below(".local/bin"), below(".local/share")), (vec!["nap".to_owned()], vec!["napgres".to_owned()]));
}

#[test]
fn root_gets_it_for_the_machine() {
    let Some(newcomer) = Newcomer::root() else { return };
    story(&newcomer);
    assert!(names(&newcomer.path("home")).is_empty());
}

#[test]
fn what_it_cannot_do_is_said_before_anything_is_done() {
    let newcomer = Newcomer::user();
    let said = newcomer.quickstart(&["--fast"]);
    assert!(said.fails_with(2).contains("unknown argument --fast") && said.stderr.contains("./quickstart"), "{said}");
    assert!(newcomer.quickstart(&["--help"]).ok().starts_with("./quickstart — "));
    newcomer.write("bin/version", "cargo 1.0.0 (0123456789 2015-05-15)\n");
    let said = newcomer.quickstart(&[]);
    assert!(said.fails_with(1).starts_with("error: Rust 1.0.0 is too old, ") && said.stdout.is_empty(), "{said}");
    assert!(names(&newcomer.path("home")).is_empty());
}
