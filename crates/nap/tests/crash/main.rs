//! What happens when something dies, fills up or is meddled with: no acknowledged commit is lost, clients are served or
//! told clearly why not, and nothing is left over.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod backend;
mod behind_our_back;
mod broken_settings;
mod chaos;
mod clock;
mod container;
mod daemon;
mod disk;
mod first_start;
mod postmaster;
mod stale;
mod stuck;

use nap_testkit::{TestHome, TestHomeBuilder};

/// A home whose daemon is up, with a table `kept` in the first database of main. Its servers sleep a second after use.
fn home() -> TestHome {
    begin(builder())
}

fn builder() -> TestHomeBuilder {
    TestHome::builder(env!("CARGO_BIN_EXE_nap"))
}

fn begin(builder: TestHomeBuilder) -> TestHome {
    let home = builder.build();
    home.up();
    home.psql("main", "create table kept (number int)").ok();
    home
}

fn rows(home: &TestHome) -> String {
    home.psql("main", "select count(*) from kept").ok().to_owned()
}
