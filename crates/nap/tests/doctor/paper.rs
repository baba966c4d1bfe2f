//! docs/doctor.md is made from the doctor's own table, and no fault of the table is without a story.

use std::path::Path;

use crate::home;

/// Faults whose stories need a script for a daemon, or a port of their own, and are told in tests/cli; or a pool.
const ELSEWHERE: [&str; 2] = [include_str!("../cli/offline.rs"), include_str!("../pool/life.rs")];

const STORIES: [&str; 6] = [
    include_str!("clients.rs"),
    include_str!("files.rs"),
    include_str!("machine.rs"),
    include_str!("places.rs"),
    include_str!("processes.rs"),
    include_str!("programs.rs"),
];

fn table() -> String {
    home().nap(&["docs", "doctor"]).ok().to_owned() + "\n"
}

#[test]
fn the_paper_lists_what_the_doctor_looks_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/doctor.md");
    let (begin, end) = ("<!-- faults -->\n", "<!-- /faults -->");
    let paper = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = paper.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let wanted = format!("{before}{begin}{}{end}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, wanted, "UPDATE_DOCS=1 cargo test -p nap-nap --test doctor writes it");
}

#[test]
fn every_fault_has_a_story() {
    let table = table();
    let names: Vec<&str> = table.lines().skip(2).map(|line| line.split(" | ").nth(1).unwrap()).collect();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        let told = |story: &&str| {
            ["warn", "fail"].iter().any(|verdict| story.contains(&format!("(\"{name}\", \"{verdict}\"")))
        };
        let elsewhere = ["warn", "FAIL"]
            .iter()
            .any(|verdict| ELSEWHERE.iter().any(|story| story.contains(&format!("{verdict}  {name}: "))));
        assert!(STORIES.iter().any(told) || elsewhere, "no story makes the fault \"{name}\"");
    }
}
