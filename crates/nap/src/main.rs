//! `nap`: Postgres that naps. The commands, and behind `nap up` the daemon.

mod background;
mod branch_names;
mod cli;
mod command_error;
mod commands;
mod complete;
mod context;
mod daemon;
mod held;
mod invoker;
mod libpq;
mod lock_holder;
mod mounts;
mod neighbour;
mod output;
mod pg_install;
mod pg_option;
mod pool_health;
mod port_holder;
mod rules;
mod target;
mod trust;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::completions::answer();
    let json = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    let command_line = match cli::parse() {
        Ok(command_line) => command_line,
        Err(error) => return command_error::report_clap(&error, json),
    };
    match commands::run(command_line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(json),
    }
}
