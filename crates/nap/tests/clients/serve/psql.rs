//! psql: each request is one or more runs of it.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use nap_testkit::pg_majors;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{Answer, part};

/// psql, on its way to where the request says.
fn psql(request: &Value) -> Command {
    let mut command = Command::new(pg_majors()[0].program("psql"));
    command.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]);
    for string in ["url", "keywords"] {
        if request[string].is_string() {
            command.args(["-d", part(request, string)]);
            return command;
        }
    }
    if request["host"].is_null() {
        return command;
    }
    command.args(["-h", part(request, "host"), "-p", &request["port"].to_string(), "-U", part(request, "user")]);
    command.arg(part(request, "database"));
    let variables = [
        ("PGPASSWORD", "password"),
        ("PGOPTIONS", "options"),
        ("PGHOSTADDR", "address"),
        ("PGSSLROOTCERT", "root_certificate"),
        ("PGCHANNELBINDING", "channel_binding"),
    ];
    for (variable, name) in variables.into_iter().filter(|(_, name)| request[*name].is_string()) {
        command.env(variable, part(request, name));
    }
    command.env("PGSSLMODE", if request["root_certificate"].is_string() { "verify-full" } else { "disable" });
    command
}

pub(super) fn answer(request: &Value) -> Answer {
    match part(request, "do") {
        "ask" => Ok(json!({ "answer": one(request, part(request, "sql"))? })),
        "cancel" => cancel(request),
        "copy" => copy(request),
        "pipeline" => pipeline(request),
        "large" => large(request),
        "error_arrives" => error_arrives(request),
        _ => Ok(told(&psql(request).args(["-c", "select 1"]).output()?)),
    }
}

fn one(request: &Value, sql: &str) -> Result<String, Box<dyn std::error::Error>> {
    let output = psql(request).args(["-c", sql]).output()?;
    if output.status.success() { text(&output.stdout) } else { Err(text(&output.stderr)?.into()) }
}

fn text(bytes: &[u8]) -> Result<String, Box<dyn std::error::Error>> {
    Ok(std::str::from_utf8(bytes)?.trim_end().to_owned())
}

/// `ERROR:  SQLSTATE: message`, `DETAIL:  …`, `HINT:  …`
fn told(output: &Output) -> Value {
    let printed = String::from_utf8_lossy(&output.stderr);
    let after = |word: &str| printed.lines().find_map(|line| line.split_once(word)).map(|(_, rest)| rest.trim());
    let error = after("ERROR:").and_then(|error| error.split_once(": "));
    json!({ "sqlstate": error.map(|(state, _)| state), "message": error.map_or(&*printed, |(_, words)| words),
            "detail": after("DETAIL:"), "hint": after("HINT:") })
}

fn error_arrives(request: &Value) -> Answer {
    let output =
        psql(request).args(["-v", "ON_ERROR_STOP=0", "-c", part(request, "sql"), "-c", "select 1"]).output()?;
    let mut answer = told(&output);
    answer["after"] = text(&output.stdout)?.into();
    Ok(answer)
}

/// Ctrl-C. A psql that nobody sits at ends then, so what comes after is another one.
fn cancel(request: &Value) -> Answer {
    let mut command = psql(request);
    command.args(["-v", "ON_ERROR_STOP=0", "-c", part(request, "sql")]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    while one(request, part(request, "watch"))? != "1" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT)?;
    let output = child.wait_with_output()?;
    Ok(json!({ "sqlstate": told(&output)["sqlstate"], "after": one(request, "select 1")? }))
}

fn copy(request: &Value) -> Answer {
    let mut command = psql(request);
    for name in ["create", "copy_in", "sum", "copy_out"] {
        command.args(["-c", part(request, name)]);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or("no standard input")?;
    input.write_all(part(request, "rows").as_bytes())?;
    drop(input);
    let printed = String::from_utf8(child.wait_with_output()?.stdout)?;
    let (sum, back) = printed.split_once('\n').ok_or("no sum")?;
    Ok(json!({ "sum": sum, "same": back == part(request, "rows") }))
}

/// What psql 18 has for it: nothing is read before `\endpipeline`.
fn pipeline(request: &Value) -> Answer {
    let count = request["count"].as_u64().ok_or("no count")?;
    let queries: String = (0..count).map(|number| format!("select $1::int \\bind {number} \\sendpipeline\n")).collect();
    let mut child = psql(request).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or("no standard input")?;
    input.write_all(format!("\\startpipeline\n{queries}\\endpipeline\n").as_bytes())?;
    drop(input);
    let printed = String::from_utf8(child.wait_with_output()?.stdout)?;
    let numbers: Result<Vec<u64>, _> = printed.lines().map(str::parse).collect();
    Ok(json!({ "sum": numbers?.iter().sum::<u64>() }))
}

fn large(request: &Value) -> Answer {
    let mut child =
        psql(request).args(["-v", "FETCH_COUNT=1000", "-c", part(request, "sql")]).stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or("no standard output")?;
    let (mut buffer, mut bytes, mut rows) = (vec![0; 1 << 16], 0, 0);
    loop {
        let read = output.read(&mut buffer)?;
        if read == 0 {
            child.wait()?;
            return Ok(json!({ "rows": rows, "bytes": bytes - rows }));
        }
        bytes += read;
        rows += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
    }
}
