//! A client's program: it reads a line of JSON with a request and writes a line of JSON with the answer.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nap_testkit::{is_full_run, is_root};
use serde_json::Value;

/// Where the programs in other languages are.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/programs")
}

/// The value of a variable that `./test` sets once it has installed what a client needs. `None`: the inner loop does not,
/// so the test is to return at once. In a full run it is a failure.
fn installed(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok();
    assert!(value.is_some() || !is_full_run(), "a full run needs {variable}; ./test sets it");
    value
}

/// A program in Python.
pub(crate) fn python(file: &str) -> Option<Command> {
    let mut command = Command::new(installed("NAP_TEST_PYTHON")?);
    command.arg(directory().join(file)).env("PYTHONDONTWRITEBYTECODE", "1");
    Some(command)
}

/// Where packages for Node are.
pub(crate) fn node_modules() -> Option<PathBuf> {
    installed("NAP_TEST_NODE_MODULES").map(PathBuf::from)
}

/// A program for Node.
pub(crate) fn node(file: &str) -> Option<Command> {
    let mut command = Command::new("node");
    command.arg(directory().join(file)).env("NODE_PATH", installed("NAP_TEST_NODE_MODULES")?);
    Some(command)
}

/// A program in Java. Names below localhost are resolved by `hosts`, as not every machine does.
pub(crate) fn java(file: &str, hosts: &Path) -> Option<Command> {
    // "none": there is no package of it for this system, which ./test says.
    let classes = installed("NAP_TEST_JAVA_CLASSES").filter(|classes| classes != "none")?;
    // Compiled first: the driver finds no classes of a program that is run from its source.
    let compiled = hosts.with_file_name("classes");
    let mut compiler = Command::new("javac");
    compiler
        .args(["-cp", &classes, "-d"])
        .arg(&compiled)
        .arg("-sourcepath")
        .arg(directory())
        .arg(directory().join(file));
    assert!(compiler.status().expect("javac").success(), "{compiler:?}");
    let mut command = Command::new("java");
    command.arg(format!("-Djdk.net.hosts.file={}", hosts.display())).arg("-XX:TieredStopAtLevel=1");
    command.args(["-cp", &format!("{}:{classes}", compiled.display())]).arg(file.trim_end_matches(".java"));
    Some(command)
}

/// A program in Rust: this test binary once more, as [`crate::serve`].
pub(crate) fn rust(name: &str) -> Option<Command> {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "serve::a_program", "--nocapture"]).env(crate::serve::VARIABLE, name);
    Some(command)
}

/// Where names below localhost lead nowhere: the same program, in a namespace of mounts in which they are in /etc/hosts.
pub(crate) fn with_names(command: Command, hosts: &Path) -> Command {
    if names_lead_here() || !mounts_can_be_covered() {
        return command;
    }
    let mut wrapped = in_a_namespace();
    wrapped.args(["sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(hosts);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.expect("nothing is taken away"));
    }
    wrapped
}

/// Whether names below localhost lead here for a program of [`with_names`].
pub(crate) fn has_names() -> bool {
    names_lead_here() || mounts_can_be_covered()
}

fn names_lead_here() -> bool {
    ("feat.localhost", 0).to_socket_addrs().is_ok()
}

fn mounts_can_be_covered() -> bool {
    in_a_namespace().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn in_a_namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(if is_root() { &["--mount"][..] } else { &["--user", "--map-root-user", "--mount"] });
    command.args(["--propagation", "private"]);
    command
}

/// A program that runs. Dropping it ends it.
pub(crate) struct Program {
    child: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts it, with nothing of the caller's own PostgreSQL in its environment.
    pub(crate) fn start(mut command: Command, environment: &[(String, String)]) -> Self {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let requests = child.stdin.take().expect("its standard input");
        let answers = BufReader::new(child.stdout.take().expect("its standard output")).lines();
        Self { child, requests, answers }
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, request: &Value) {
        writeln!(self.requests, "{request}").expect("the program reads");
    }

    /// Waits for the answer.
    pub(crate) fn receive(&mut self) -> Value {
        // libtest has a few words of its own to say.
        let line = self.answers.by_ref().map_while(Result::ok).find(|line| line.starts_with('{'));
        let line = line.expect("an answer, but the program has ended");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
