//! The daemon as process 1 of a container: it reaps every orphan, and SIGTERM ends it with its servers.

use std::process::{Child, Command};

use nap_testkit::process::{self, Signal};
use nap_testkit::{TestHome, eventually, is_root};

use super::{builder, rows};

/// A PID namespace with the daemon as its process 1.
struct Container {
    unshare: Child,
    daemon: i32,
}

impl Container {
    fn start(home: &TestHome) -> Self {
        let nap = home.nap_command(&["up", "--foreground"]);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(nap.get_program()).args(nap.get_args());
        let log = std::fs::File::create(home.beside().join("container.log")).unwrap();
        let unshare = command.current_dir("/").stderr(log).spawn().unwrap();
        let parent = unshare.id() as i32;
        let daemon = eventually("process 1", || process::children(parent).first().copied());
        let container = Self { unshare, daemon };
        eventually("it is up", || home.nap(&["status"]).succeeded().then_some(()));
        container
    }

    /// A process of the container whose title holds this.
    fn process(&self, title: &str) -> Option<i32> {
        let namespace = std::fs::read_link(format!("/proc/{}/ns/pid", self.daemon)).ok()?;
        process::everything().into_iter().filter(|pid| process::is_alive(*pid)).find(|pid| {
            std::fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|other| other == namespace)
                && process::command_line(*pid).join(" ").contains(title)
        })
    }

    fn no_zombies(&self) {
        eventually("the zombies are reaped", || process::zombies_of(self.daemon).is_empty().then_some(()));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The end of process 1 is the end of all.
        process::kill9(self.daemon);
        let _ = self.unshare.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_process_1_it_reaps_what_a_killed_postmaster_leaves_and_sigterm_ends_all() {
    if !is_root() {
        return;
    }
    let home = builder().build();
    let mut container = Container::start(&home);
    assert_eq!(home.daemon_pid(), 1);
    home.psql("main", "create table kept as select 1 as number").ok();
    let busy = home.connect("main").await;
    tokio::spawn(async move { busy.batch_execute("select count(*) from generate_series(1, 100000000000)").await });
    let backend = eventually("a busy backend", || container.process("SELECT"));
    let postmaster = process::parent(backend).unwrap();
    assert_eq!(process::parent(postmaster), Some(container.daemon));

    process::kill9(postmaster);
    assert_eq!(rows(&home), "1");
    process::wait_gone(backend);
    container.no_zombies();
    assert_eq!((process::state(postmaster), process::state(backend)), (None, None), "reaped");

    // Somebody's orphan, as `docker exec` leaves them.
    let target = container.daemon.to_string();
    let mut enter = Command::new("nsenter");
    enter.args(["--pid", "--mount", "--target", &target, "sh", "-c", "sleep 0.35 & exit"]);
    assert!(enter.status().unwrap().success());
    let orphan = eventually("the orphan", || container.process("sleep 0.35"));
    assert_eq!(process::parent(orphan), Some(container.daemon));
    process::wait_gone(orphan);
    container.no_zombies();

    assert_eq!(rows(&home), "1");
    process::signal(container.daemon, Signal::TERM);
    assert!(container.unshare.wait().unwrap().success());
    let log = home.server_log("main");
    assert!(log.trim_end().ends_with("database system is shut down"), "{log}");
    assert!(!home.data("main").join("postmaster.pid").exists());

    // In the next container all has the same numbers, and nothing of before stands in its way.
    let container = Container::start(&home);
    assert_eq!(rows(&home), "1");
    process::kill9(container.daemon);
    drop(container);
    let container = Container::start(&home);
    assert_eq!(rows(&home), "1", "after the whole container was killed");
    container.no_zombies();
}

#[test]
fn down_from_outside_waits_for_the_process_that_it_sees() {
    if !is_root() {
        return;
    }
    let home = builder().build();
    let mut container = Container::start(&home);
    assert_eq!(home.daemon_pid(), 1, "in its own words");
    home.nap(&["down"]).ok();
    assert!(!process::is_alive(container.daemon));
    assert!(container.unshare.wait().unwrap().success());
}
