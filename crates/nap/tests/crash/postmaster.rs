//! kill -9 of a postmaster: what it leaves is cleared away, and the next client finds every committed row.

use nap_testkit::{Frozen, TestHome, eventually, process};

use super::{begin, builder, home, rows};

/// A session whose backend computes, and so does not notice that its postmaster died. Its pid.
async fn busy_backend(home: &TestHome) -> i32 {
    let session = home.connect("main").await;
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    tokio::spawn(async move { session.batch_execute("select count(*) from generate_series(1, 100000000000)").await });
    eventually("it computes", || process::command_line(pid).join(" ").contains("SELECT").then_some(()));
    pid
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_killed_postmaster_with_a_busy_backend_the_next_client_finds_every_commit() {
    let home = home();
    home.psql("main", "alter system set max_prepared_transactions = 5").ok();
    home.nap(&["restart", "main"]).ok();
    home.psql("main", "insert into kept select generate_series(1, 1000)").ok();
    home.psql("main", "begin; insert into kept values (0); prepare transaction 'in two phases'").ok();
    let open = home.connect("main").await;
    open.batch_execute("begin; insert into kept select generate_series(1, 10)").await.unwrap();
    let busy = busy_backend(&home).await;

    let killed = home.kill_postmaster("main");
    assert_eq!(rows(&home), "1000");
    process::wait_gone(busy);
    assert_ne!(home.server_pid("main"), Some(killed));
    assert!(open.batch_execute("commit").await.is_err(), "its backend is gone");

    home.psql("main", "commit prepared 'in two phases'").ok();
    assert_eq!(rows(&home), "1001");
    drop(open);
    home.wait_state("main", "asleep");
    home.wait_nothing_runs();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postmaster_is_recovered_before_anybody_asks() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let busy = busy_backend(&home).await;
    home.kill_postmaster("main");
    process::wait_gone(busy);
    // Clean again: it woke by itself, recovered, and went to sleep.
    home.wait_state("main", "asleep");
    assert!(home.server_log("main").contains("not properly shut down"));
    assert_eq!(rows(&home), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_daemon_and_postmaster_are_both_dead_busy_backends_stand_in_nobodys_way() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let busy = busy_backend(&home).await;
    let frozen = Frozen::process(busy);
    home.kill_daemon();
    home.kill_postmaster("main");
    assert!(process::is_alive(busy));
    home.up();
    assert_eq!(rows(&home), "1");
    process::wait_gone(busy);
    drop(frozen);
}

#[test]
fn a_postmaster_killed_while_it_wakes_is_an_error_for_who_waits_and_none_for_the_next() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let hold = home.hold_starts("main");
    home.sleep("main");
    let url = home.url("main");
    std::thread::scope(|scope| {
        let waiting = [(); 3].map(|()| scope.spawn(|| home.psql_with(&url, "\\set VERBOSITY verbose\nselect 1")));
        eventually("all wait", || (home.branch("main")?["status"]["waiting"] == 3).then_some(()));
        home.wait_start_is_held("main");
        home.kill_postmaster("main");
        for client in waiting {
            let said = client.join().unwrap();
            assert!(said.fails_with(2).contains("the server of branch \"main\" did not start"), "{said}");
            assert!(said.stderr.contains("It is tried again when the next client connects"), "{said}");
        }
    });
    hold.release();
    assert_eq!(rows(&home), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postmaster_killed_while_it_shuts_down_leaves_nothing_behind() {
    let home = begin(builder().setting("sleep_after", "\"never\""));
    home.psql("main", "insert into kept values (1)").ok();
    let busy = busy_backend(&home).await;
    let frozen = Frozen::process(busy);
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| home.nap(&["restart", "main"]));
        eventually("it shuts down", || (home.postmaster_progress("main")? == "stopping").then_some(()));
        home.kill_postmaster("main");
        restart.join().unwrap().ok();
    });
    process::wait_gone(busy);
    drop(frozen);
    assert_eq!(rows(&home), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postmaster_killed_while_the_daemon_goes_down_leaves_nothing_behind() {
    let home = begin(builder().setting("sleep_after", "\"never\""));
    home.psql("main", "insert into kept values (1)").ok();
    let busy = busy_backend(&home).await;
    let frozen = Frozen::process(busy);
    std::thread::scope(|scope| {
        let down = scope.spawn(|| home.nap(&["down"]));
        eventually("it shuts down", || (home.postmaster_progress("main")? == "stopping").then_some(()));
        home.kill_postmaster("main");
        down.join().unwrap().ok();
    });
    assert!(process::below(&home.path()).is_empty(), "something outlived the daemon");
    drop(frozen);
    home.up();
    assert_eq!(rows(&home), "1");
}
