//! Every fault that `nap doctor` knows is made here for real, and found.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

mod clients;
mod files;
mod machine;
mod paper;
mod places;
mod processes;
mod programs;

use std::process::Command;

use nap_testkit::{Output, TestHome};

/// A home that nothing has been done with.
/// Not in memory: some machines that are made here have another /dev/shm.
fn home() -> TestHome {
    TestHome::builder(env!("CARGO_BIN_EXE_nap")).below(std::path::Path::new("/tmp")).build()
}

/// What the doctor says.
#[derive(Debug)]
struct Report {
    code: Option<i32>,
    findings: Vec<serde_json::Value>,
}

fn doctor(home: &TestHome) -> Report {
    doctor_by(&mut home.nap_command(&["doctor", "--json"]))
}

/// The doctor of another user, in another environment, or on another machine.
fn doctor_by(command: &mut Command) -> Report {
    let output = Output::of(command);
    let findings = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"));
    Report { code: output.code, findings }
}

impl Report {
    fn of(&self, name: &str, verdict: &str) -> Vec<&serde_json::Value> {
        self.findings.iter().filter(|found| found["name"] == name && found["verdict"] == verdict).collect()
    }

    /// It names the fault, and a cure with these words.
    #[track_caller]
    fn finds(&self, name: &str, verdict: &str, what: &str, cure: &str) {
        let has = |found: &&serde_json::Value| {
            found["what"].as_str().unwrap().contains(what) && found["cure"].as_str().unwrap().contains(cure)
        };
        assert!(self.of(name, verdict).iter().any(has), "no {verdict} of {name} with {what:?} and {cure:?}: {self:#?}");
        assert!(verdict != "fail" || self.code == Some(1), "a fault has exit code 1");
    }

    /// It does not find that fault.
    #[track_caller]
    fn is_well(&self, name: &str) {
        let ill: Vec<_> = ["warn", "fail"].iter().flat_map(|verdict| self.of(name, verdict)).collect();
        assert!(ill.is_empty(), "{ill:#?}");
    }
}
