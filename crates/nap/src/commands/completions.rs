//! `nap completions`, and what a shell asks us when somebody presses the tab key.

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::CompleteEnv;
use clap_complete::env::{EnvCompleter, Fish, Zsh};

use crate::cli::CommandLine;
use crate::command_error::CommandError;
use crate::context::Context;

/// The variable by which a shell asks.
const VARIABLE: &str = "NAP_COMPLETE";

/// Print what makes a shell complete commands and the names of branches
///
/// bash: `source <(nap completions bash)` in ~/.bashrc. zsh: the same in ~/.zshrc, behind compinit. fish: `nap completions fish >
/// ~/.config/fish/completions/nap.fish`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// For which shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let mut script = Vec::new();
        match self.shell {
            Shell::Bash => script.extend_from_slice(include_bytes!("completions/nap.bash")),
            Shell::Zsh => Zsh.write_registration(VARIABLE, "nap", "nap", "nap", &mut script)?,
            Shell::Fish => Fish.write_registration(VARIABLE, "nap", "nap", "nap", &mut script)?,
        }
        context.output.text(&String::from_utf8_lossy(&script))
    }
}

/// Answers a shell that asks, and ends this process; otherwise returns. Called first of all, while there is one thread.
pub(crate) fn answer() {
    CompleteEnv::with_factory(CommandLine::command).var(VARIABLE).complete();
}
