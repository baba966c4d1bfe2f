//! What the papers show is generated from the model's tables. `UPDATE_DOCS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "papers need not survive a power cut"
)]

use std::path::{Path, PathBuf};

fn workspace(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)
}

fn assert_paper(file: &str, wanted: &str) {
    let path = workspace(file);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "{file} is not what the table says; UPDATE_DOCS=1 cargo test -p nap-model writes it");
}

#[test]
fn the_lifecycle_page_is_the_table_of_transitions() {
    let diagram = nap_model::state::diagram();
    let page = format!(
        "# The life of a server\n\n\
         Every step that a branch's server takes, and why. This page is generated from the one table that the daemon\n\
         follows; the words on an arrow are the words in its log.\n\n```mermaid\n{diagram}```\n"
    );
    assert_paper("docs/lifecycle.md", &page);
}

#[test]
fn the_page_of_settings_shows_every_one() {
    const BEGIN: &str = "<!-- settings -->\n";
    const END: &str = "<!-- /settings -->";
    let page = std::fs::read_to_string(workspace("docs/settings.md")).unwrap_or_default();
    let (before, rest) = page.split_once(BEGIN).expect("the settings begin with their mark");
    let (_, after) = rest.split_once(END).expect("the settings end with their mark");
    assert_paper("docs/settings.md", &format!("{before}{BEGIN}{}{END}{after}", nap_model::settings::markdown()));
}
