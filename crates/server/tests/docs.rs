//! The table of settings on a server's command line is the one that the code has. `UPDATE_DOCS=1` writes it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "papers need not survive a power cut"
)]

use std::path::Path;

#[test]
fn the_page_of_settings_shows_what_stands_on_the_command_line() {
    const BEGIN: &str = "<!-- ours -->\n";
    const END: &str = "<!-- /ours -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the table has its mark");
    let (_, after) = rest.split_once(END).expect("the table ends with its mark");
    let mut table = String::from("| setting | why |\n|---|---|\n");
    for ours in nap_server::spec::OURS {
        table.push_str(&format!("| `{}` | {} |\n", ours.setting, ours.why));
    }
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted, "UPDATE_DOCS=1 cargo test -p nap-server writes it");
}
