//! docs/clients.md is made of the cases and of what is said about the clients. `UPDATE_DOCS=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::cases::CASES;
use crate::client::CLIENTS;

const BEGINNING: &str = "# Clients\n\n\
    Every client here is driven through every case by `./test`, over TCP with SCRAM where the case says nothing else. This page\n\
    is generated from the list of cases and from what is said of each client (`crates/nap/tests/clients/`).\n\n";

#[test]
fn the_page_on_clients_is_what_is_tested() {
    let mut page = BEGINNING.to_owned();
    how_each_names_a_branch(&mut page);
    table(&mut page);
    reasons(&mut page);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/clients.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, page, "UPDATE_DOCS=1 cargo test -p nap-nap --test clients writes docs/clients.md");
}

fn how_each_names_a_branch(page: &mut String) {
    page.push_str("## How each names a branch\n\n");
    page.push_str("`DB@BRANCH` works in all of them; this is what suits each best.\n\n| client | |\n|---|---|\n");
    for client in CLIENTS {
        writeln!(page, "| {} | `{}` |", client.name, client.writes).unwrap();
    }
}

fn table(page: &mut String) {
    page.push_str("\n## What is tested\n\n|  |");
    CLIENTS.iter().for_each(|client| write!(page, " {} |", client.name).unwrap());
    write!(page, "\n|---|{}\n", "---|".repeat(CLIENTS.len())).unwrap();
    for case in CASES {
        write!(page, "| {} |", case.says).unwrap();
        for client in CLIENTS {
            page.push_str(if client.cannot(case.name).is_some() { " – |" } else { " yes |" });
        }
        page.push('\n');
    }
}

fn reasons(page: &mut String) {
    page.push_str("\n## Why not\n\nWhat stands as – above is what the client cannot do, against any server.\n");
    for client in CLIENTS {
        writeln!(page, "\n{}:\n", client.name).unwrap();
        let mut told: Vec<&str> = Vec::new();
        for (name, reason) in client.cannot {
            assert!(CASES.iter().any(|case| case.name == *name), "{}: no case {name}", client.name);
            if told.contains(reason) {
                continue;
            }
            told.push(reason);
            let same = client.cannot.iter().filter(|(_, other)| other == reason).map(|(name, _)| *name);
            let cases = CASES.iter().filter(|case| same.clone().any(|name| name == case.name));
            let says: Vec<&str> = cases.map(|case| case.says).collect();
            writeln!(page, "- {reason} ({})", says.join("; ")).unwrap();
        }
    }
}
