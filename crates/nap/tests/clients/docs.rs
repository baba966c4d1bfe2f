//! docs/clients.md is made of the cases and of what is said about the clients. `UPDATE_DOCS=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::cases::{Case, DEEDS, STRINGS, Transport, WAYS, all};
use crate::client::{CLIENTS, Client};

const BEGINNING: &str = "# Clients\n\n\
    Every client here is driven through every case by `./test`. This page is generated from the list of cases and from what is\n\
    said of each client (`crates/nap/tests/clients/`). The transports: TCP in the clear with SCRAM; TLS with SCRAM and\n\
    `sslmode=verify-full`, or what the client has for it; a Unix socket without a password.\n\n";

#[test]
fn the_page_on_clients_is_what_is_tested() {
    let mut page = BEGINNING.to_owned();
    how_each_names_a_branch(&mut page);
    page.push_str(
        "\n## Ways to a branch\n\nEach while the server is asleep, while it is waking, and while it is awake.\n\n",
    );
    table(&mut page, WAYS);
    page.push_str("\n## What is done there\n\n");
    table(&mut page, DEEDS);
    page.push_str("\n## How the way is written down\n\n");
    table(&mut page, STRINGS);
    reasons(&mut page);
    needs(&mut page);
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

fn table(page: &mut String, cases: &[Case]) {
    page.push_str("|  | over |");
    CLIENTS.iter().for_each(|client| write!(page, " {} |", client.name).unwrap());
    write!(page, "\n|---|---|{}\n", "---|".repeat(CLIENTS.len())).unwrap();
    for case in cases {
        let over: Vec<&str> = case.over.iter().copied().map(Transport::name).collect();
        write!(page, "| {} | {} |", case.says, over.join(", ")).unwrap();
        for client in CLIENTS {
            let needs = client.needs.iter().any(|needs| needs.case == case.name);
            page.push_str(match client.cannot(case.name) {
                Some(_) => " – |",
                None if needs => " yes, if |",
                None => " yes |",
            });
        }
        page.push('\n');
    }
}

/// What a case says, from its name.
fn says(client: &Client, name: &str) -> &'static str {
    all().find(|case| case.name == name).unwrap_or_else(|| panic!("{}: no case {name}", client.name)).says
}

fn reasons(page: &mut String) {
    page.push_str("\n## Why not\n\nWhat stands as – above is what the client cannot do, against any server.\n");
    for client in CLIENTS.iter().filter(|client| !client.cannot.is_empty()) {
        writeln!(page, "\n{}:\n", client.name).unwrap();
        let mut told: Vec<&str> = Vec::new();
        for (_, reason) in client.cannot {
            if told.contains(reason) {
                continue;
            }
            told.push(reason);
            let same = client.cannot.iter().filter(|(_, other)| other == reason);
            let cases: Vec<&str> = same.map(|(name, _)| says(client, name)).collect();
            writeln!(page, "- {reason} ({})", cases.join("; ")).unwrap();
        }
    }
}

fn needs(page: &mut String) {
    page.push_str("\n## If\n\nWhat a run of `./test` plays only where it can be had.\n\n");
    for client in CLIENTS {
        for needs in client.needs {
            writeln!(page, "- {}: {} ({})", client.name, needs.what, says(client, needs.case)).unwrap();
        }
    }
}
