//! Who may import whom, and how long a file may be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate of the workspace, and the rooms it may import. The direction is what keeps decisions apart from I/O and
/// the gateway apart from the store; testkit and bench look at the program from outside.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("nap-fault", &[]),
    ("nap-wire", &[]),
    ("nap-model", &[]),
    ("nap-store", &["nap-fault", "nap-model"]),
    ("nap-server", &["nap-fault", "nap-model"]),
    ("nap-gateway", &["nap-wire", "nap-model"]),
    ("nap-control", &["nap-model"]),
    ("nap-nap", &["nap-fault", "nap-wire", "nap-model", "nap-store", "nap-server", "nap-gateway", "nap-control"]),
    ("nap-testkit", &[]),
    ("nap-bench", &[]),
    ("nap-fuzz-checks", &["nap-wire", "nap-model", "nap-gateway", "nap-control"]),
];

/// What tests of any crate may import besides.
const TESTS_MAY_IMPORT: &[&str] = &["nap-testkit"];

/// A file is a room for one thought.
const LONGEST_FILE_LINES: usize = 500;

#[test]
fn rooms_import_only_what_they_may() {
    let packages = packages();
    let known: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    for (name, dependencies) in &packages {
        let may = known.get(name.as_str()).unwrap_or_else(|| panic!("{name} is in no row of MAY_IMPORT"));
        for (dependency, for_tests) in dependencies.iter().filter(|(name, _)| known.contains_key(name.as_str())) {
            let allowed =
                may.contains(&dependency.as_str()) || (*for_tests && TESTS_MAY_IMPORT.contains(&dependency.as_str()));
            assert!(allowed, "{name} imports {dependency}, which it may not");
        }
    }
    assert_eq!(packages.len(), MAY_IMPORT.len(), "MAY_IMPORT names a crate that is gone");
}

#[test]
fn files_are_rooms_for_one_thought() {
    let root = workspace();
    let too_long: Vec<String> = rust_files(&root)
        .into_iter()
        .filter_map(|file| {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            (lines >= LONGEST_FILE_LINES).then(|| format!("{}: {lines} lines", file.display()))
        })
        .collect();
    assert!(too_long.is_empty(), "split these: {too_long:#?}");
}

/// Each crate with its dependencies; true stands for those of its tests only.
fn packages() -> BTreeMap<String, Vec<(String, bool)>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(workspace());
    let metadata = nap_testkit::Output::of(&mut cargo).json();
    let dependency = |entry: &serde_json::Value| (text(&entry["name"]), entry["kind"] == "dev");
    let package = |entry: &serde_json::Value| {
        let dependencies = entry["dependencies"].as_array().unwrap().iter().map(dependency).collect();
        (text(&entry["name"]), dependencies)
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
