//! A client goes through all cases.

use std::time::{Duration, Instant};

use nap_testkit::{Bystander, TestHome};
use serde_json::{Value, json};

use crate::cases::{Case, DEEDS, STRINGS, Scene, WAYS};
use crate::client::Client;
use crate::program::Program;
use crate::stage::{COPIED, LARGE, PIPELINED, Stage};

/// How long all have to come while a start is held up: seconds of hashing, where a client does it in Python.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays all cases that the client can do; says all that went wrong, not only the first.
pub(crate) fn play(client: &Client) {
    let stage = Stage::set();
    let Some(command) = (client.program)(&stage.hosts()) else { return };
    let main = Bystander::watch(&stage.home, "main");
    let mut play = Play { client, program: Program::start(command, &[]), stage: &stage, wrong: Vec::new() };
    let ways = play.scenes(WAYS);
    play.asleep(&ways);
    play.waking(&ways);
    play.awake(&ways);
    play.strings();
    let (default, deeds): (Vec<Scene>, _) =
        play.scenes(DEEDS).into_iter().partition(|scene| scene.case == "default_branch");
    play.each(&deeds);
    if play.wrong.is_empty() {
        main.was_not_woken(client.name);
    }
    play.each(&default);
    assert!(play.wrong.is_empty(), "{}:\n{}", client.name, play.wrong.join("\n"));
}

struct Play<'a> {
    client: &'a Client,
    program: Program,
    stage: &'a Stage,
    wrong: Vec<String>,
}

impl Play<'_> {
    /// What of these cases the client can do here.
    fn scenes(&mut self, cases: &[Case]) -> Vec<Scene> {
        let (client, program) = (self.client, &mut self.program);
        let can = |case: &&Case| {
            let needs = client.needs.iter().find(|needs| needs.case == case.name);
            client.cannot(case.name).is_none() && needs.is_none_or(|needs| (needs.is_here)(program))
        };
        cases.iter().filter(can).flat_map(Case::scenes).collect()
    }

    fn ask(&mut self, scene: Scene) -> Value {
        ask(&mut self.program, &self.stage.request(scene))
    }

    fn check(&mut self, scene: Scene, state: &str, answer: &Value) {
        if let Err(what) = check(scene.case, answer) {
            self.wrong.push(format!("{scene}{state}: {what}: {answer}"));
        }
    }

    /// Each wakes the server, by itself and once.
    fn asleep(&mut self, ways: &[Scene]) {
        let home = &self.stage.home;
        let mut wakes = home.wakes("feat");
        for scene in ways {
            home.sleep("feat");
            let answer = self.ask(*scene);
            self.check(*scene, ", asleep", &answer);
            let woken = home.wakes("feat") - wakes;
            wakes += woken;
            if woken != 1 {
                self.wrong.push(format!("{scene}, asleep: woken {woken} times"));
            }
        }
    }

    /// All come and wait while the server is in the middle of its start, which is one for all of them.
    fn waking(&mut self, ways: &[Scene]) {
        let home = &self.stage.home;
        let held = home.hold_starts("feat");
        let before = home.put_to_sleep("feat");
        let requests: Vec<Value> = ways.iter().map(|scene| self.stage.request(*scene)).collect();
        self.program.send(&json!({ "do": "together", "requests": requests }));
        home.wait_start_is_held("feat");
        let waited = how_many_wait(home, ways.len());
        held.release();
        let answers = self.program.receive();
        for (number, scene) in ways.iter().enumerate() {
            self.check(*scene, ", waking", &answers["answers"][number]);
        }
        if (waited, home.wakes("feat")) != (ways.len(), before + 1) {
            self.wrong.push(format!("waking: {waited} of {} waited for the one start", ways.len()));
        }
    }

    /// Nothing is started for them.
    fn awake(&mut self, ways: &[Scene]) {
        let home = &self.stage.home;
        home.nap(&["wake", "feat"]).ok();
        let before = home.wakes("feat");
        for scene in ways {
            let answer = self.ask(*scene);
            self.check(*scene, ", awake", &answer);
        }
        assert_eq!(home.wakes("feat"), before, "awake");
    }

    fn strings(&mut self) {
        for scene in self.scenes(STRINGS) {
            let answer = if scene.case == "environment" {
                let command = (self.client.program)(&self.stage.hosts()).expect("as before");
                ask(&mut Program::start(command, &self.stage.environment()), &self.stage.request(scene))
            } else {
                self.ask(scene)
            };
            self.check(scene, "", &answer);
        }
    }

    fn each(&mut self, scenes: &[Scene]) {
        for scene in scenes {
            let answer = self.ask(*scene);
            self.check(*scene, "", &answer);
        }
    }
}

/// How many wait for the server in the end. Those who are refused at once are seen by their answers.
fn how_many_wait(home: &TestHome, all: usize) -> usize {
    let started = Instant::now();
    loop {
        let waiting =
            home.branch("feat").expect("the branch")["status"]["waiting"].as_u64().expect("a number") as usize;
        if waiting == all || started.elapsed() > PATIENCE {
            return waiting;
        }
    }
}

fn ask(program: &mut Program, request: &Value) -> Value {
    program.send(request);
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
