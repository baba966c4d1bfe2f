//! Two commands at once, on one branch, and on a parent and its child: each does what it was to, or says why not; nobody waits
//! for ever, and the tree is whole.

use std::time::{Duration, Instant};

use nap_testkit::walk::nothing_is_left_over;
use nap_testkit::{Beside, Chaos, Disk, Output, TestHome, eventually};

use super::builder;

/// Who waits for the other one is let wait no longer.
const ENDS_WITHIN: Duration = Duration::from_millis(700);

/// main ─ p ─ c, with 0, 1 and 2 rows, all asleep.
fn tree(disk: &Disk) -> TestHome {
    let home = builder().faults().below(&disk.path()).setting("history", "\"0s\"").build();
    home.up();
    home.psql("postgres@main", "create table kept (number int)").ok();
    home.sleep("main");
    home
}

fn plant(home: &TestHome) {
    for (name, parent) in [("p", "main"), ("c", "p")] {
        home.nap(&["branch", name, "--from", parent]).ok();
        home.psql(&format!("postgres@{name}"), "insert into kept values (1)").ok();
        home.sleep(name);
    }
}

fn names(home: &TestHome) -> Vec<String> {
    let listed = home.nap(&["ls", "--json"]).json();
    listed.as_array().unwrap().iter().map(|branch| branch["name"].as_str().unwrap().to_owned()).collect()
}

fn count(home: &TestHome, branch: &str) -> u64 {
    home.psql(&format!("postgres@{branch}"), "select count(*) from kept").ok().parse().unwrap()
}

/// After a new start: every branch has a parent that is there, and answers.
#[track_caller]
fn is_whole(home: &TestHome) {
    home.kill_daemon();
    home.up();
    nothing_is_left_over(home);
    let names = names(home);
    for name in &names {
        if let Some(parent) = home.branch(name).unwrap()["parent"].as_str() {
            assert!(names.iter().any(|name| name == parent), "the parent of {name} is {parent}, of {names:?}");
        }
        assert!(count(home, name) <= 2, "{name}");
    }
}

fn clear(home: &TestHome) {
    while let Some(name) = names(home).into_iter().find(|name| name != "main") {
        home.nap(&["rm", &name, "--with-children", "--force"]).ok();
    }
    home.sleep("main");
}

/// The first comes to a place and stays there until the second has ended, or waits for it.
#[track_caller]
fn meet(home: &TestHome, first: &[&str], place: &str, second: &[&str]) -> (Output, Output) {
    home.faults().hold_at(place);
    let first = Beside::begin(home.nap_command(first));
    let held = home.faults().wait_held(place);
    let second = Beside::begin(home.nap_command(second));
    let begun = Instant::now();
    while !second.has_ended() && begun.elapsed() < ENDS_WITHIN {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(held);
    (first.end(), second.end())
}

/// The words with which one of the two was refused; none: it was not.
type Refused = Option<&'static str>;

const SHOWS: &str = "a branch is about to show";
const ASLEEP: &str = "a parent is kept asleep";
const BROUGHT: &str = "another state is brought";
const EMPTIED: &str = "a branch is emptied";
const GOES: &str = "a branch is to go";
const RENAMED: &str = "a branch is to be renamed";

fn words(command: &'static str) -> Vec<&'static str> {
    command.split(' ').collect()
}

fn each(cases: &[(&'static str, &str, &'static str, Refused, Refused)]) {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = tree(&disk);
    let mut wrong = Vec::new();
    for (first, place, second, first_refused, second_refused) in cases {
        println!("… {first}, at \"{place}\": {second}");
        plant(&home);
        let (one, other) = meet(&home, &words(first), place, &words(second));
        for (said, refused) in [(&one, first_refused), (&other, second_refused)] {
            let is_right = match refused {
                None => said.succeeded(),
                Some(why) => said.code == Some(1) && said.stderr.contains(why),
            };
            if !is_right {
                wrong.push(format!("{first}, at \"{place}\": {second}: expected {refused:?}: {said}"));
            }
        }
        is_whole(&home);
        clear(&home);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn slow_two_commands_on_one_branch() {
    each(&[
        ("branch new --from p", SHOWS, "branch new --from main", Some("branch \"new\" exists"), None),
        ("reset c", BROUGHT, "branch new --from c", None, None),
        ("reset c", EMPTIED, "branch new --from c", None, None),
        ("branch new --from c", ASLEEP, "reset c", None, None),
        ("branch new --from c", SHOWS, "reset c", None, None),
        ("rm c", GOES, "branch new --from c", None, Some("branch \"c\"")),
        ("branch new --from c", ASLEEP, "rm c", Some("no branch \"c\""), None),
        ("branch new --from c", SHOWS, "rm c", Some("no branch \"c\""), None),
        ("set c name=d", RENAMED, "branch new --from c", None, Some("branch \"c\"")),
        ("branch new --from c", ASLEEP, "set c name=d", Some("no branch \"c\""), None),
        ("branch new --from c", SHOWS, "set c name=d", Some("no branch \"c\""), None),
        ("branch new --from main", SHOWS, "set c name=new", Some("branch \"new\" exists"), None),
        ("set c name=new", RENAMED, "branch new --from main", Some("branch \"new\" exists"), None),
        ("reset c", BROUGHT, "reset c", None, None),
        ("reset c", BROUGHT, "rm c", Some("no branch \"c\""), None),
        ("reset c", EMPTIED, "rm c --force", Some("no branch \"c\""), None),
        ("rm c", GOES, "reset c", None, Some("branch \"c\"")),
        ("reset c --keep-as old", BROUGHT, "branch old --from main", Some("branch \"old\" exists"), None),
        ("rm c", GOES, "rm c", None, Some("branch \"c\"")),
    ]);
}

#[test]
fn slow_a_past_and_its_branch() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = builder().faults().below(&disk.path()).build();
    home.up();
    home.psql("postgres@main", "create table kept (number int)").ok();
    home.sleep("main");
    for (first, place, second) in [
        (["restore", "c", "--at"], "a past is recovered", "reset c"),
        (["restore", "c", "--at"], EMPTIED, "reset c"),
        (["restore", "c", "--at"], BROUGHT, "branch new --from c"),
        (["restore", "c", "--at"], BROUGHT, "rm c --force"),
        (["branch", "new", "--from"], "a past is cloned", "rm c --force"),
        (["branch", "new", "--from"], "a past is cloned", "set c name=d"),
        (["branch", "new", "--from"], "a past is cloned", "reset c"),
        (["branch", "new", "--from"], "a server aside is ready", "reset c"),
    ] {
        plant(&home);
        let snapshots = || home.nap(&["history", "c", "--json"]).json()["snapshots"].as_array().unwrap().len();
        eventually("its past is kept", || (snapshots() > 0).then_some(()));
        let at = home.psql("postgres@c", "select pg_current_wal_lsn()").ok().to_owned();
        home.psql("postgres@c", "delete from kept").ok();
        let command: Vec<&str> = match first[0] {
            "restore" => [&first[..], &[&at, "--keep-as", "old"]].concat(),
            _ => [&first[..], &["c", "--at", &at]].concat(),
        };
        println!("… {command:?}, at \"{place}\": {second}");
        let (one, other) = meet(&home, &command, place, &words(second));
        assert!(other.succeeded(), "{other}");
        let why = match (first[0], words(second)[0]) {
            (_, "rm" | "set") => Some("no branch \"c\""),
            ("branch", _) => Some("branch \"c\" got another state meanwhile"),
            _ => None,
        };
        match why {
            Some(why) => assert!(one.fails_with(1).contains(why), "{one}"),
            // What it was is kept, whatever came first.
            None => assert!(one.succeeded() && [0, 1].contains(&count(&home, "old")), "{one}"),
        }
        is_whole(&home);
        clear(&home);
    }
}

/// Who connects while its branch goes is told so, and nobody is let in to what has gone.
#[test]
fn who_comes_while_a_branch_goes_is_told() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = tree(&disk);
    for (how, place) in [("rm c", GOES), ("rm c --force", GOES), ("rm c", "a branch has gone")] {
        plant(&home);
        let url = home.url("postgres@c");
        home.faults().hold_at(place);
        let goes = Beside::begin(home.nap_command(&words(how)));
        let held = home.faults().wait_held(place);
        let mut psql = home.program("psql");
        psql.args(["-XqAt", "-d", &url, "-c", "select 1"]);
        let comes = Beside::begin(psql);
        let begun = Instant::now();
        while !comes.has_ended() && begun.elapsed() < ENDS_WITHIN {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(held);
        goes.end().ok();
        let told = comes.end();
        assert!(told.fails_with(2).contains("branch \"c\""), "{how}, {place}: {told}");
        is_whole(&home);
        clear(&home);
    }
}

/// What the child has is of the state that its parent was in: nobody may look for its past in that of the other one.
#[test]
fn a_child_that_is_reset_while_its_parent_is_shares_no_past_with_it() {
    let Some(disk) = Disk::xfs(1_024) else { return };
    let home = tree(&disk);
    plant(&home);
    let shares =
        || std::fs::read_to_string(home.path().join("branches/c/branch.toml")).unwrap().contains("shared_until");
    home.nap(&["reset", "c"]).ok();
    assert!(shares());
    let (child, parent) = meet(&home, &["reset", "c"], BROUGHT, &["reset", "p"]);
    assert!(child.succeeded() && parent.succeeded(), "{child}\n{parent}");
    assert!(!shares());
    is_whole(&home);
    assert_eq!((count(&home, "p"), count(&home, "c")), (0, 1));
}

/// Chance finds what nobody has thought of.
#[test]
fn slow_many_commands_at_once() {
    let Some(disk) = Disk::xfs(2_048) else { return };
    let home = tree(&disk);
    plant(&home);
    let mut chaos = Chaos::seed();
    const BRANCHES: [&str; 4] = ["p", "c", "d", "e"];
    for round in 0..12 {
        let begun: Vec<(String, Beside)> = (0..4)
            .map(|_| {
                let (one, other) = (*chaos.pick(&BRANCHES), *chaos.pick(&["main", "p", "c", "d", "e"]));
                let command = match chaos.below(8) {
                    0..3 => format!("branch {one} --from {other}"),
                    3 => format!("reset {one}"),
                    4 => format!("reset {one} --keep-as {other}"),
                    5 => format!("rm {one} --keep-children --force"),
                    6 => format!("set {one} name={other}"),
                    _ => format!("snapshot at-{round} --from {one}"),
                };
                let running = Beside::begin(home.nap_command(&command.split(' ').collect::<Vec<_>>()));
                (command, running)
            })
            .collect();
        if chaos.once_in(3) {
            std::thread::sleep(chaos.span_up_to(Duration::from_millis(300)));
            home.kill_daemon();
        }
        for (command, running) in begun {
            let said = running.end();
            println!("{round}: {command}: {:?} {}", said.code, said.stderr.trim());
            assert!(said.succeeded() || said.stderr.contains("error: "), "{said}");
            assert!(!said.stderr.contains("panicked"), "{said}");
        }
        if home.daemon_process().is_none() {
            home.up();
        }
    }
    is_whole(&home);
}

#[test]
fn slow_a_parent_and_its_child() {
    each(&[
        ("reset p", BROUGHT, "reset c", None, None),
        ("reset p", EMPTIED, "reset c", None, None),
        ("reset c", ASLEEP, "reset p", None, None),
        ("reset c", BROUGHT, "reset p", None, None),
        ("rm p --with-children", GOES, "branch new --from c", None, Some("branch \"c\"")),
        ("branch new --from c", SHOWS, "rm p --with-children", Some("no branch \"c\""), None),
        ("rm p --keep-children", GOES, "branch new --from p", None, Some("branch \"p\"")),
        ("branch new --from p", SHOWS, "rm p --keep-children", Some("no branch \"p\""), None),
        ("rm p --keep-children", GOES, "reset c", None, Some("no branch \"p\"")),
        ("reset c", BROUGHT, "rm p --keep-children", Some("the parent of branch \"c\" has gone meanwhile"), None),
        ("set p name=q", RENAMED, "snapshot kept --from c", None, None),
        ("snapshot kept --from c", "a snapshot is about to show", "set p name=q", None, None),
        ("set p name=q", RENAMED, "reset c", None, Some("no branch \"p\"")),
        ("reset c", BROUGHT, "set p name=q", None, None),
        ("reset p --keep-as old", EMPTIED, "branch new --from c", None, None),
    ]);
}
