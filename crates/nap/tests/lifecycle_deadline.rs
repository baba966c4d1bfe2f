//! A server that takes too long: the client is told, with the end of the server's own log, and the server may go on.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::io::Write;

use nap_testkit::{TestHome, connect, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_until_wake_timeout_and_is_told_what_the_server_says() {
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    let config = home.config("postgres@main");
    home.psql("postgres@main", "create table kept as select 1 as one").ok();
    let wakes = home.put_to_sleep("main");
    home.nap(&["config", "set", "wake_timeout=2s"]).ok();
    // It looks for WAL in an archive that takes its time to say that there is none.
    let answers = home.beside().join("answers");
    std::fs::write(home.data("main").join("recovery.signal"), "").unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(home.data("main").join("postgresql.conf")).unwrap();
    writeln!(file, "restore_command = 'until test -e {}; do sleep 0.1; done; false'", answers.display()).unwrap();
    let error = connect(&config).await.map(drop).unwrap_err();
    let said = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    assert_ne!(said.code().code(), "57P03", "{said:?}");
    assert!(said.message().contains("\"main\" was not ready in time"), "{said:?}");
    assert!(said.detail().unwrap_or_default().contains("LOG:  starting PostgreSQL"), "{said:?}");
    assert!(said.hint().is_some(), "{said:?}");
    assert_eq!(home.state("main"), "waking");
    std::fs::write(&answers, "").unwrap();
    let client = eventually("it comes up in the end", || {
        let config = config.clone();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(connect(&config))).ok()
    });
    assert_eq!(client.query_one("select one from kept", &[]).await.unwrap().get::<_, i32>(0), 1);
    assert_eq!(home.wakes("main"), wakes + 1, "it was one start all the time");
}
