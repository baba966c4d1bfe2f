//! A command is walked through: its daemon dies at every place that it comes to, and each time the next one must find
//! everything whole, nothing left over, and do the same command when it is given again.

mod full;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::Output;
use crate::home::{TestHome, place_of_homes};
use crate::{eventually, process};

/// The command, and what is to be seen of it.
pub struct Walk<'a> {
    /// The home, whose daemon is up and has been built with faults.
    pub home: &'a TestHome,
    /// Done anew before each death.
    pub prepare: &'a mut dyn FnMut(&TestHome),
    /// `nap`'s words.
    pub command: &'a [&'a str],
    /// Panics unless all that must be there is there. Whether the command has been done.
    pub look: &'a mut dyn FnMut(&TestHome) -> bool,
    /// Makes it as it was before the command. May be called when the command has not been done.
    pub undo: &'a mut dyn FnMut(&TestHome),
}

impl Walk<'_> {
    /// From the first place to the last. Gives back which these were.
    #[track_caller]
    pub fn through(&mut self) -> Vec<String> {
        let (home, faults) = (self.home, self.home.faults());
        (self.prepare)(home);
        faults.record();
        home.nap(self.command).ok();
        nothing_is_left_over(home);
        let places = faults.recorded();
        println!("{:?} comes to {places:?}", self.command);
        assert!((self.look)(home), "it is done");
        (self.undo)(home);
        nothing_is_left_over(home);
        let before = inodes_in_use(home);
        for (place, visits) in &places {
            self.dies_at(place, 1);
            if *visits > MANY_VISITS {
                self.dies_at(place, visits / 2);
            }
        }
        if has_its_own_disk(home) {
            eventually(&format!("no more than the {before} inodes from before are in use"), || {
                (inodes_in_use(home) < before + INODES_TOLERATED).then_some(())
            });
        }
        places.into_iter().map(|(place, _)| place).collect()
    }

    #[track_caller]
    fn dies_at(&mut self, place: &str, visit: u32) {
        let (home, faults) = (self.home, self.home.faults());
        println!("… dies at {place}, visit {visit}");
        (self.prepare)(home);
        faults.die_at(place, visit);
        // Some places are come to when the answer has been given.
        println!("{}", home.nap(self.command));
        faults.wait_dead(home, place);
        nobody_stands_still(home);
        home.up();
        // They are ended before their files are swept, not when they notice.
        let strays = strays(home);
        assert!(strays.is_empty(), "programs of the daemon before are still at work: {strays:?}");
        nothing_is_left_over(home);
        let is_done = (self.look)(home);
        if !is_done {
            home.nap(self.command).ok();
            assert!((self.look)(home), "given again after it died at {place}, it is done");
        }
        (self.undo)(home);
        nothing_is_left_over(home);
    }
}

/// Of so many the one in the middle is tried too: a place that is come to with every file.
const MANY_VISITS: u32 = 100;
/// Segments of logs and the like come and go; a branch has a thousand files.
const INODES_TOLERATED: u64 = 150;

/// The files of the home's file system: those that were deleted while somebody has them open count, too. Btrfs has no count.
/// Not those of snapshots: a server that was woken to be asked for its roles leaves one, when it has written something.
fn inodes_in_use(home: &TestHome) -> u64 {
    let stat = rustix::fs::statvfs(home.path()).expect("a file system");
    let branches = std::fs::read_dir(home.path().join("branches")).into_iter().flatten().flatten();
    let kept: u64 = branches.map(|branch| entries_below(&branch.path().join("snapshots"))).sum();
    stat.f_files.saturating_sub(stat.f_ffree).saturating_sub(kept)
}

fn entries_below(directory: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let below = |path: &std::path::Path| if path.is_symlink() { 0 } else { entries_below(path) };
    entries.map(|entry| 1 + below(&entry.path())).sum()
}

/// Where most homes are, file systems are shared with everybody.
fn has_its_own_disk(home: &TestHome) -> bool {
    home.beside().parent().is_none_or(|parent| parent != place_of_homes())
}

/// No server of a branch is stopped: the guardian has let it go on.
#[track_caller]
pub fn nobody_stands_still(home: &TestHome) {
    let branches = home.path().join("branches");
    eventually("all servers go on", || {
        process::below(&branches).iter().all(|pid| process::state(*pid) != Some('T')).then_some(())
    });
}

/// The tree is whole, and of what came to nothing nothing is left: no files, no processes, no sockets.
#[track_caller]
pub fn nothing_is_left_over(home: &TestHome) {
    for place in ["staging", "trash"] {
        nothing_is(&format!("in {place}"), || names(home.path().join(place)));
    }
    let listed = home.nap(&["ls", "--json"]).json();
    let known: Vec<String> =
        listed.as_array().expect("a list").iter().map(|entry| entry["name"].as_str().expect("a name").into()).collect();
    assert_eq!(names(home.path().join("branches")), known, "every directory is a branch that can be used");
    nothing_is("at work that is no branch's", || strays(home));
    nothing_is("open that nobody finds any more", || open_but_gone(home));
    let sockets = names(home.path().join("run/.servers"));
    assert_eq!(sockets.len(), known.len(), "each server has its socket directory: {sockets:?} of {known:?}");
}

#[track_caller]
fn nothing_is(what: &str, look: impl Fn() -> Vec<String>) {
    let started = std::time::Instant::now();
    let mut left = look();
    while !left.is_empty() {
        assert!(started.elapsed() < crate::DEADLINE, "{what}: {left:?}");
        std::thread::sleep(std::time::Duration::from_millis(10));
        left = look();
    }
}

fn names(directory: PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Processes that have to do with the home, and are neither its daemon nor its guardian nor of a branch's server.
fn strays(home: &TestHome) -> Vec<String> {
    let (root, branches) = (home.path(), home.path().join("branches"));
    let name = root.display().to_string();
    let daemon = home.daemon_process();
    let in_branches = branches.display().to_string();
    let is_stray = |pid: &i32| {
        let line = process::command_line(*pid).join(" ");
        let cwd = process::working_directory(*pid);
        let is_ours = line.contains(&name) || cwd.as_ref().is_some_and(|cwd| cwd.starts_with(&root));
        let is_deleted = cwd.as_ref().is_some_and(|cwd| cwd.to_string_lossy().ends_with(" (deleted)"));
        // One that the daemon has just started has not gone to its directory yet.
        let starts = daemon.is_some() && process::parent(*pid) == daemon && line.contains(&in_branches);
        let is_server = starts || (!is_deleted && cwd.is_some_and(|cwd| cwd.starts_with(&branches)));
        is_ours && process::is_alive(*pid) && !is_server && Some(*pid) != daemon && !line.contains("guardian")
    };
    let strays = process::everything().into_iter().filter(|pid| *pid != std::process::id() as i32).filter(is_stray);
    strays.map(|pid| format!("{pid}: {}", process::command_line(pid).join(" "))).collect()
}

/// Files of the home that take space, and that no name leads to: of what was half-made or thrown away, which have gone, with
/// whomever they are still open; and all that the daemon or the guardian hold. A server's own are its business.
#[must_use]
pub fn open_but_gone(home: &TestHome) -> Vec<String> {
    let root = home.path();
    let branches = root.join("branches");
    let is_left = |path: &Path, is_server: bool| {
        let Ok(inside) = path.strip_prefix(&root) else { return false };
        let inside = inside.strip_prefix("pool").unwrap_or(inside);
        let is_passing = ["staging/", "trash/"].iter().any(|place| inside.to_string_lossy().starts_with(place));
        is_passing || (!is_server && path.to_string_lossy().ends_with(" (deleted)"))
    };
    let mut left = Vec::new();
    for pid in process::everything().into_iter().filter(|pid| *pid != std::process::id() as i32) {
        let is_server = process::working_directory(pid).is_some_and(|cwd| cwd.starts_with(&branches));
        let files = process::open_files(pid).into_iter().filter(|path| is_left(path, is_server));
        left.extend(files.map(|path| format!("{pid}: {}", path.display())));
    }
    left
}

/// A command that runs beside the test.
#[derive(Debug)]
pub struct Beside(Option<std::thread::JoinHandle<Output>>);

impl Beside {
    /// Begins it.
    pub fn begin(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self(Some(std::thread::spawn(move || Output::of(&mut command))))
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.0.as_ref().is_none_or(std::thread::JoinHandle::is_finished)
    }

    /// Its end, which must come.
    #[track_caller]
    pub fn end(mut self) -> Output {
        eventually("the command ends", || self.has_ended().then_some(()));
        self.0.take().expect("it was begun").join().expect("it ran")
    }
}
