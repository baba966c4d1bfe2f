//! Without a fuzzer: the corpus, and seeded mutations of it, through every check. The same inputs in every run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::path::PathBuf;

use nap_fuzz_checks::{TARGETS, Target};
use rand::prelude::*;
use rand::rngs::StdRng;

/// Counted, not timed: every machine tries the same inputs. Each target's take a second or a few, unoptimised.
const MUTATIONS: usize = 20_000;
/// Of targets whose check takes a hundred times longer: SCRAM's hashes, expressions that are compiled.
const COSTLY_MUTATIONS: usize = 2_000;
/// So many instead of either, for who looks for more: NAP_TEST_MUTATIONS=1000000.
const MUTATIONS_VARIABLE: &str = "NAP_TEST_MUTATIONS";
/// As large as what PostgreSQL lets through before it knows who is there, and a little more.
const INPUT_MAX_BYTES: usize = 12_000;

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target.name);
    let mut files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One or a few of: another byte, a boundary of a length, a piece left out, doubled, or taken from another input.
fn mutate(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut data = corpus.choose(random).unwrap().clone();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=data.len());
        let end = random.random_range(at..=data.len().min(at + 64));
        match random.random_range(0..6) {
            0 if at < data.len() => data[at] = random.random(),
            1 => {
                let lengths = [0, 3, 4, 8, 10_004, 10_005, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
                let word = lengths.choose(random).unwrap().to_be_bytes();
                data.splice(at..data.len().min(at + 4), word);
            }
            2 => drop(data.drain(at..end)),
            3 => {
                let piece = data[at..end].to_vec();
                data.splice(at..at, piece.repeat(random.random_range(1..20)));
            }
            4 => {
                let other = corpus.choose(random).unwrap();
                data.truncate(at);
                data.extend_from_slice(&other[random.random_range(0..=other.len())..]);
            }
            _ => data.insert(at, *b"\0 \\-=@,:$\xff".choose(random).unwrap()),
        }
    }
    data.truncate(INPUT_MAX_BYTES);
    data
}

fn run(target: &Target, data: &[u8]) {
    let outcome = std::panic::catch_unwind(|| (target.check)(data));
    assert!(outcome.is_ok(), "{}: {}", target.name, data.escape_ascii());
    let allocated = allocation_counter::measure(|| (target.parse)(data)).bytes_max;
    let (base, times) = target.allocates;
    let bound = (base + times * data.len()) as u64;
    assert!(allocated <= bound, "{}: {allocated} bytes for {} of input", target.name, data.len());
}

fn mutations(name: &str) -> usize {
    match std::env::var(MUTATIONS_VARIABLE) {
        Ok(count) => count.parse().unwrap(),
        Err(_) if matches!(name, "scram" | "hba") => COSTLY_MUTATIONS,
        Err(_) => MUTATIONS,
    }
}

fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(target);
    corpus.iter().for_each(|data| run(target, data));
    let mut random = StdRng::seed_from_u64(20_261_120);
    for _ in 0..mutations(name) {
        let data = if random.random_bool(0.1) {
            let mut bytes = vec![0; random.random_range(0..200)];
            random.fill(&mut bytes[..]);
            bytes
        } else {
            mutate(&mut random, &corpus)
        };
        run(target, &data);
    }
}

macro_rules! replayed {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn every_target_is_replayed_and_can_be_fuzzed() {
            let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
            for name in names {
                let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../targets/{name}.rs"));
                assert!(file.exists(), "{}", file.display());
            }
        }
    };
}

replayed!(startup frames messages scram secrets options route hba control queries);
