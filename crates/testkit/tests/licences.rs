//! Every dependency's licence is among those that deny.toml allows.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::path::Path;
use std::process::Command;

/// The systems that releases are for; what only others need is not looked at.
const TARGETS: [&str; 4] =
    ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "aarch64-apple-darwin", "x86_64-apple-darwin"];

#[test]
fn every_dependency_has_a_licence_that_we_may_use() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let deny: toml::Table = std::fs::read_to_string(root.join("deny.toml")).unwrap().parse().unwrap();
    let allowed: Vec<&str> = deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(|l| l.as_str()).collect();

    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(&root);
    cargo.args(TARGETS.iter().flat_map(|target| ["--filter-platform", target]));
    let metadata = nap_testkit::Output::of(&mut cargo).json();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "this is not the whole tree");
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !is_allowed(package["license"].as_str().unwrap_or("none"), &allowed))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:#?}");
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let may = |expression| is_allowed(expression, &["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]);
    assert!(may("MIT"));
    assert!(may("GPL-3.0 OR MIT"));
    assert!(may("GPL-3.0/MIT"), "the old way to write OR");
    assert!(may("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(may("Apache-2.0 WITH LLVM-exception OR GPL-3.0"));
    assert!(!may("MIT AND GPL-3.0"));
    assert!(!may("(MIT OR Apache-2.0) AND GPL-3.0"));
    assert!(!may("Apache-2.0"), "with the exception only");
    assert!(!may("none"));
}

/// Whether a choice that the expression leaves is among the allowed licences. AND binds stronger than OR.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "~");
    let mut words = spaced.split_whitespace().peekable();
    let answer = any_of(&mut words, allowed);
    assert_eq!(words.next(), None, "cannot read {expression:?}");
    answer
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut answer = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        answer |= all_of(words, allowed);
    }
    answer
}

fn all_of(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut answer = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        answer &= one(words, allowed);
    }
    answer
}

fn one(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    match words.next() {
        Some("(") => {
            let answer = any_of(words, allowed);
            assert_eq!(words.next(), Some(")"));
            answer
        }
        Some(licence) => allowed.contains(&licence.replace('~', " WITH ").as_str()),
        None => false,
    }
}
