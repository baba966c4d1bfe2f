//! The programs in Rust. They run in a process of their own as the others do, so that each can have an environment.

mod psql;
mod sqlx;
mod tokio_postgres;

use std::io::{BufRead, Write};

use serde_json::{Value, json};

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
        let answer = match name.as_str() {
            "psql" => psql::answer(&request),
            "sqlx" => runtime.block_on(sqlx::answer(&request)),
            _ => runtime.block_on(tokio_postgres::answer(&request)),
        };
        println!("{}", answer.unwrap_or_else(|error| json!({ "failed": format!("{error:?}") })));
        std::io::stdout().flush().unwrap();
    }
}
