//! A client goes through all cases.

use nap_testkit::Bystander;
use serde_json::{Value, json};

use crate::cases::CASES;
use crate::client::Client;
use crate::program::Program;
use crate::stage::{COPIED, LARGE, PIPELINED, Stage};

/// Plays all cases that the client can do; says all that went wrong, not only the first.
pub(crate) fn play(client: &Client) {
    let stage = Stage::set();
    let Some(command) = (client.program)(&stage.hosts()) else { return };
    let mut program = Program::start(command, &[]);
    let main = Bystander::watch(&stage.home, "main");
    let mut wrong = Vec::new();
    for case in CASES.iter().filter(|case| client.cannot(case.name).is_none()) {
        if case.name == "default_branch" && wrong.is_empty() {
            main.was_not_woken(client.name);
        }
        let answer = match case.name {
            "environment" => {
                let command = (client.program)(&stage.hosts()).unwrap();
                ask(&mut Program::start(command, &stage.environment()), &stage.request(case.name))
            }
            "waking" => while_it_wakes(&stage, &mut program),
            "asleep" | "awake" => as_it_is(&stage, &mut program, case.name),
            name => ask(&mut program, &stage.request(name)),
        };
        if let Err(what) = check(case.name, &answer) {
            wrong.push(format!("{}: {what}: {answer}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", client.name, wrong.join("\n"));
}

fn ask(program: &mut Program, request: &Value) -> Value {
    program.send(request);
    program.receive()
}

/// The server sleeps and is woken once, or is awake and stays so.
fn as_it_is(stage: &Stage, program: &mut Program, case: &str) -> Value {
    let home = &stage.home;
    let (before, wakes) = match case {
        "asleep" => (home.put_to_sleep("feat"), 1),
        _ => {
            home.nap(&["wake", "feat"]).ok();
            (home.wakes("feat"), 0)
        }
    };
    let answer = ask(program, &stage.request(case));
    assert_eq!(home.wakes("feat"), before + wakes, "{case}");
    answer
}

/// The client comes, and while it waits the server is in the middle of its start.
fn while_it_wakes(stage: &Stage, program: &mut Program) -> Value {
    let home = &stage.home;
    let held = home.hold_starts("feat");
    home.put_to_sleep("feat");
    program.send(&stage.request("waking"));
    home.wait_start_is_held("feat");
    assert_eq!(home.state("feat"), "waking");
    held.release();
    program.receive()
}

fn check(case: &str, answer: &Value) -> Result<(), String> {
    let wanted = match case {
        "cancel" => json!({ "sqlstate": "57014", "after": "1" }),
        "copy" => json!({ "sum": (COPIED * (COPIED + 1) / 2).to_string(), "same": true }),
        "pipeline" => json!({ "sum": PIPELINED * (PIPELINED - 1) / 2 }),
        "large" => json!({ "rows": LARGE, "bytes": LARGE * 1024 }),
        "error" => json!({ "sqlstate": "ZZ123", "message": "no such luck", "detail": "a detail", "hint": "a hint",
                           "after": "1" }),
        "wrong_password" => return is_refused(answer, "28P01", "password authentication failed for user", ""),
        "unknown_branch" => return is_refused(answer, "3D000", "branch \"feet\" does not exist", "\"feat\""),
        _ => json!({ "answer": Stage::expected(case) }),
    };
    if *answer == wanted { Ok(()) } else { Err(format!("not {wanted}")) }
}

/// libpq tells no SQLSTATE of a refused connection, only the text.
fn is_refused(answer: &Value, sqlstate: &str, message: &str, hint: &str) -> Result<(), String> {
    let has = |field: &str, words: &str| answer[field].as_str().unwrap_or_default().contains(words);
    let state = answer["sqlstate"].is_null() || answer["sqlstate"] == sqlstate;
    if state && has("message", message) && has("hint", hint) {
        Ok(())
    } else {
        Err(format!("not {sqlstate} {message}"))
    }
}
