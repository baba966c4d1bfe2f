//! What `scripts/regress` makes of two runs of PostgreSQL's suites, and of the list of what may differ.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Two runs of the same three tests, of which one printed something else through the gateway.
struct Runs(tempfile::TempDir);

impl Runs {
    fn new() -> Self {
        let runs = Self(tempfile::tempdir().unwrap());
        for run in ["direct", "through-nap"] {
            std::fs::create_dir(runs.path(run)).unwrap();
            let report = "test boolean     ... ok    12 ms\n     char         ... FAILED   8 ms\n     name         ... ok  9 ms\n";
            std::fs::write(runs.path(&format!("{run}.log")), report).unwrap();
            for test in ["boolean", "char", "name"] {
                std::fs::write(runs.path(run).join(format!("{test}.out")), "1\n2\n").unwrap();
            }
        }
        std::fs::write(runs.path("through-nap/char.out"), "1\n3\n").unwrap();
        runs
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Whether they pass with this list, and what is said.
    fn compared(&self, list: &str) -> (bool, String) {
        std::fs::write(self.path("list"), list).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/regress-compare");
        let output = Command::new(script).arg("core").arg(self.0.path()).arg(self.path("list")).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    #[track_caller]
    fn refused(&self, list: &str, words: &str) {
        let (passed, said) = self.compared(list);
        assert!(!passed && said.contains(words), "{said}");
    }
}

#[test]
fn a_difference_is_in_the_list_or_fails_and_so_is_one_that_is_none() {
    let runs = Runs::new();
    runs.refused("# nothing may\n", "char DIFFERS");
    let (passed, said) = runs.compared("# may\ncore char: its time of day\n");
    assert!(passed && said.contains("char differs, as expected: its time of day"), "{said}");
    runs.refused("core char: time\ncore name: random\n", "name does not differ any more");
    runs.refused("core char: time\ncore nobody: random\n", "nobody is no test of this suite");
    let (passed, said) = runs.compared("core char: time\nisolation name: the other suite's\n");
    assert!(passed, "{said}");
    let report = std::fs::read_to_string(runs.path("direct.log")).unwrap();
    std::fs::write(runs.path("through-nap.log"), report.replace("ok    12", "FAILED 12")).unwrap();
    runs.refused("core char: time\n", "boolean DIFFERS");
}

#[test]
fn the_list_is_short_and_every_entry_has_a_reason() {
    let runs = Runs::new();
    for wrong in ["core char:", "core char:  ", "core char", "char: time", "cores char: time"] {
        runs.refused(&format!("{wrong}\n"), "not \"SUITE TEST: REASON\"");
    }
    runs.refused("core char: time\ncore char: again\n", "twice: core char");
    let six: String = ["a", "b", "c", "d", "e", "f"].map(|name| format!("isolation {name}: time\n")).concat();
    runs.refused(&six, "6 differences, and 5 are the most that may be");
}
