//! What others hear of a branch while it is being removed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use nap_testkit::{Raw, TestHome, eventually};

#[test]
fn whoever_comes_meanwhile_hears_that_it_is_being_removed() {
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    home.up();
    home.nap(&["branch", "feature"]).ok();
    home.psql("postgres@feature", "create table large as select 1").ok();
    let frozen = home.freeze_checkpointer("feature");
    let mut removal = home.nap_command(&["rm", "--force", "feature"]).spawn().unwrap();
    eventually("its server is stopping", || (home.state("feature") == "stopping").then_some(()));
    let said = home.nap(&["wake", "feature"]);
    assert_eq!(
        said.fails_with(1),
        "error: branch \"feature\" is being removed\nhint: `nap ls` shows the branches that stay"
    );
    let role = home.role();
    let parameters = [("user", role.as_str()), ("database", "postgres")];
    let error = Raw::unix(&home.door("feature"), home.port()).start(&parameters).ready().unwrap_err();
    assert_eq!((error.code.as_str(), error.message.as_str()), ("3D000", "branch \"feature\" is being removed"));
    assert!(!error.hint.is_empty());
    drop(frozen);
    assert!(removal.wait().unwrap().success());
}
