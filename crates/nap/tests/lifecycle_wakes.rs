//! One start for any number of clients, and nobody is refused while a server wakes or goes to sleep.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::time::Duration;

use nap_testkit::{Chaos, TestHome, connect};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_at_once_are_one_start() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    let wakes = home.put_to_sleep("main");
    let config = home.config("postgres@main");
    let clients: Vec<_> = (0..50)
        .map(|number: i32| {
            let config = config.clone();
            tokio::spawn(async move {
                let client = connect(&config).await?;
                let row = client.query_one(&format!("select {number}"), &[]).await?;
                Ok::<_, tokio_postgres::Error>((row.get::<_, i32>(0), client))
            })
        })
        .collect();
    let mut held = Vec::new();
    for (number, client) in clients.into_iter().enumerate() {
        let (answer, client) = client.await.unwrap().unwrap_or_else(|error| panic!("client {number}: {error:?}"));
        assert_eq!(answer, number as i32);
        held.push(client);
    }
    assert_eq!(home.wakes("main"), wakes + 1);
    let branch = home.branch("main").unwrap();
    assert_eq!((&branch["status"]["sessions"], &branch["status"]["waiting"]), (&50.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_it_goes_to_sleep_is_served() {
    let mut chaos = Chaos::seed();
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home.psql("main", "create table kept (round int)").ok();
    let config = home.config(&format!("{}@main", home.role()));
    for round in 0..50_i32 {
        let pause = chaos.span_up_to(Duration::from_millis(80));
        let mut going = home
            .nap_command(&["sleep", "main"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(pause).await;
        let served = async {
            let client = connect(&config).await?;
            client.execute("insert into kept values ($1)", &[&round]).await?;
            client.query_one("select count(*) from kept", &[]).await
        };
        let row = served.await.unwrap_or_else(|error| panic!("round {round}, {pause:?} after `nap sleep`: {error:?}"));
        assert_eq!(row.get::<_, i64>(0), i64::from(round) + 1, "nothing was lost");
        going.wait().unwrap();
    }
    assert!(home.wakes("main") > 1, "it slept some time");
}

#[test]
fn who_comes_while_it_falls_asleep_by_itself_is_served() {
    let mut chaos = Chaos::seed();
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"100ms\"").build();
    home.up();
    let connection = home.socket_connection("postgres@main", "postgres");
    for _ in 0..25 {
        assert_eq!(home.psql_with(&connection, "select 1").ok(), "1");
        std::thread::sleep(Duration::from_millis(70) + chaos.span_up_to(Duration::from_millis(120)));
    }
    home.wait_state("main", "asleep");
}
