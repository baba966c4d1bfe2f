//! A postgresql.conf that PostgreSQL does not take: clients read why.

use nap_testkit::{TestHome, eventually, give_to_server_user};

use super::{home, rows};

fn break_settings(home: &TestHome) -> String {
    let conf = home.data("main").join("postgresql.conf");
    let good = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, format!("{good}\nwork_mem = 'a lot'\n")).unwrap();
    give_to_server_user(&conf);
    good
}

fn mend_settings(home: &TestHome, good: &str) {
    std::fs::write(home.data("main").join("postgresql.conf"), good).unwrap();
}

#[test]
fn everybody_who_waits_reads_the_line_that_is_wrong_and_after_mending_it_all_is_well() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    home.sleep("main");
    let url = home.url("main");
    let good = break_settings(&home);
    std::thread::scope(|scope| {
        let clients = [(); 4].map(|()| scope.spawn(|| home.psql_with(&url, "select 1")));
        for client in clients {
            let said = client.join().unwrap();
            assert!(said.fails_with(2).contains("FATAL:  the server of branch \"main\" did not start"), "{said}");
            let detail = said.stderr.split_once("DETAIL:").unwrap_or_else(|| panic!("no detail: {said}")).1;
            assert!(detail.contains("invalid value for parameter \"work_mem\": \"a lot\""), "{said}");
        }
    });
    let branch = home.branch("main").unwrap();
    assert_eq!(branch["status"]["state"], "failed");
    assert!(branch["status"]["failure"].as_str().unwrap().contains("work_mem"), "{branch}");

    // However often it was tried.
    for _ in 0..6 {
        home.psql_with(&url, "select 1").fails_with(2);
    }
    mend_settings(&home, &good);
    let started = std::time::Instant::now();
    assert_eq!(rows(&home), "1");
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "it took {:?}", started.elapsed());
}

#[test]
fn a_server_that_cannot_recover_is_tried_again_and_nobody_is_turned_away_after_mending() {
    let home = home();
    home.psql("main", "insert into kept values (1)").ok();
    let url = home.url("main");
    let good = break_settings(&home);
    home.kill_postmaster("main");
    // It must recover, so its roles cannot be known, so nobody can be let in, whoever they are.
    home.wait_state("main", "failed");
    let said = home.psql_with(&url, "select 1");
    assert!(said.fails_with(2).contains("the roles of branch \"main\" cannot be read now"), "{said}");
    assert!(!said.stderr.contains("work_mem"), "a stranger reads nothing of the log: {said}");

    let tries = || home.server_log("main").matches("invalid value for parameter \"work_mem\"").count();
    let before = tries();
    eventually("it is tried again by itself", || (tries() > before).then_some(()));
    mend_settings(&home, &good);
    assert_eq!(home.psql_with(&url, "select count(*) from kept").ok(), "1");
}
