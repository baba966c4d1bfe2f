//! kill -9 of a backend: PostgreSQL ends all its sessions and recovers by itself. Who connects meanwhile waits.

use std::sync::atomic::{AtomicBool, Ordering};

use nap_testkit::{connect, eventually, process};
use tokio_postgres::error::SqlState;

use super::{begin, builder};

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_while_postgresql_recovers_from_a_killed_backend_is_served() {
    // Enough WAL that the recovery takes a while, and no checkpoint that would shorten it.
    let home = begin(builder().setting("sleep_after", "\"never\""));
    home.psql("main", "alter system set max_wal_size = '4GB'").ok();
    home.psql("main", "alter system set checkpoint_timeout = '1h'").ok();
    home.nap(&["restart", "main"]).ok();
    let config = home.config("main");
    let server = home.server_pid("main").unwrap();
    for round in 0..4 {
        home.psql("main", "create table if not exists big (n int); insert into big select generate_series(1, 200000)")
            .ok();
        let victim = connect(&config).await.unwrap();
        let pid: i32 = victim.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        let over = AtomicBool::new(false);
        let comers = async {
            let mut served = 0;
            while !over.load(Ordering::Relaxed) || served == 0 {
                // A session that was let in before the crash may die of it, but none is refused.
                let session = connect(&config).await.unwrap_or_else(|error| panic!("refused: {error:?}"));
                match session.query_one("select 1", &[]).await {
                    Ok(_) => served += 1,
                    Err(error) => assert_ne!(error.code(), Some(&SqlState::CANNOT_CONNECT_NOW)),
                }
            }
        };
        let crash = async {
            process::kill9(pid);
            eventually("the backend is gone", || (!process::is_alive(pid)).then_some(()));
            let recovered = connect(&config).await.unwrap();
            recovered.query_one("select 1", &[]).await.unwrap();
            over.store(true, Ordering::Relaxed);
        };
        tokio::join!(comers, crash);
        assert!(victim.query_one("select 1", &[]).await.is_err());
        assert_eq!(home.server_pid("main"), Some(server), "round {round}: the postmaster recovers by itself");
    }
    assert_eq!(home.psql("main", "select count(*) from big").ok(), "800000");
    assert!(home.server_log("main").contains("terminating any other active server processes"));
}
