//! `nap docs`: parts of the documentation that are made from the code.

use clap::{Args, CommandFactory as _, ValueEnum};
use nap_model::{settings, state};

use crate::cli::CommandLine;
use crate::command_error::CommandError;
use crate::context::Context;

/// Print a generated part of the documentation
#[derive(Debug, Args)]
pub(crate) struct Docs {
    /// Which part
    part: Part,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    /// The table of settings, as Markdown
    Settings,
    /// The states of a server, as a Mermaid diagram
    Lifecycle,
    /// The table of commands, as Markdown
    Commands,
    /// The table of what `nap doctor` looks for, as Markdown
    Doctor,
}

impl Docs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        context.output.text(&match self.part {
            Part::Settings => settings::markdown(),
            Part::Lifecycle => state::diagram(),
            Part::Commands => commands(),
            Part::Doctor => super::doctor::markdown(),
        })
    }
}

fn commands() -> String {
    let mut text = String::from("| command | what it does |\n|---|---|\n");
    for command in CommandLine::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let mut command = command.clone();
        let usage = command
            .render_usage()
            .to_string()
            .replace("Usage: nap ", "Usage: ")
            .replace("Usage: ", "nap ")
            .replace(" [OPTIONS]", "");
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("| `{}` | {about} |\n", usage.replace('|', "\\|")));
    }
    text
}
