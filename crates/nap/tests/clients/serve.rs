//! The programs in Rust. They run in a process of their own as the others do, so that each can have an environment.

mod psql;
mod sqlx;
mod tokio_postgres;

use std::io::{BufRead, Write};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Names the program that this process is to be.
pub(crate) const VARIABLE: &str = "NAP_TEST_CLIENT_PROGRAM";

/// What an answer is, or why there is none.
type Answer = Result<Value, Box<dyn std::error::Error>>;

/// A part of a request.
fn part<'a>(request: &'a Value, name: &str) -> &'a str {
    request[name].as_str().unwrap_or_default()
}

/// No test by itself: see [`crate::program::rust`].
#[test]
fn a_program() {
    let Ok(name) = std::env::var(VARIABLE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    println!();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let answer = match (part(&request, "do"), request["requests"].as_array()) {
            ("together", Some(requests)) => json!({ "answers": together(&name, &runtime, requests) }),
            _ => together(&name, &runtime, std::slice::from_ref(&request)).remove(0),
        };
        println!("{answer}");
        std::io::stdout().flush().unwrap();
    }
}

/// The answers to requests that are all on their way at once.
fn together(name: &str, runtime: &Runtime, requests: &[Value]) -> Vec<Value> {
    let told = |answer: Answer| answer.unwrap_or_else(|error| json!({ "failed": format!("{error:?}") }));
    match name {
        "psql" => std::thread::scope(|scope| {
            let ask = |request| scope.spawn(move || told(psql::answer(request)));
            let asked: Vec<_> = requests.iter().map(ask).collect();
            asked.into_iter().map(|thread| thread.join().unwrap()).collect()
        }),
        "sqlx" => runtime.block_on(join_all(requests.iter().map(async |request| told(sqlx::answer(request).await)))),
        _ => {
            let asked = requests.iter().map(async |request| told(tokio_postgres::answer(request).await));
            runtime.block_on(join_all(asked))
        }
    }
}
