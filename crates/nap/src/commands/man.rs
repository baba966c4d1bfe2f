//! `nap man`

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_mangen::Man as Page;
use nap_control::Failure;
use nap_store::durable;

use crate::cli::CommandLine;
use crate::command_error::CommandError;
use crate::context::Context;

/// Print the manual page, or write the pages of all commands into a directory
///
/// `nap man /usr/local/share/man/man1` makes `man nap` and `man nap-up` work for everybody.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to write one page for each command
    directory: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let mut command = CommandLine::command();
        command.build();
        let Some(directory) = self.directory else {
            return context.output.text(&String::from_utf8_lossy(&page(command)?));
        };
        let mut written = Vec::new();
        write_all(&command, &directory, &mut written)?;
        if context.output.is_quiet() {
            return Ok(());
        }
        let words = || format!("{} pages in {}", written.len(), directory.display());
        context.output.result(&serde_json::json!({ "wrote": written }), words)
    }
}

fn page(command: clap::Command) -> Result<Vec<u8>, CommandError> {
    let mut page = Vec::new();
    let title = command.get_display_name().unwrap_or(command.get_name()).to_uppercase();
    Page::new(command).title(title).manual("Napgres").render(&mut page)?;
    Ok(page)
}

fn write_all(command: &clap::Command, directory: &Path, written: &mut Vec<PathBuf>) -> Result<(), CommandError> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = directory.join(format!("{name}.1"));
    let cannot = |error| Failure::failed(format!("cannot write {}", path.display())).caused_by(&error);
    std::fs::create_dir_all(directory).map_err(cannot)?;
    durable::write_atomic(&path, &page(command.clone())?, 0o644).map_err(cannot)?;
    written.push(path);
    let is_ours = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    command.get_subcommands().filter(is_ours).try_for_each(|command| write_all(command, directory, written))
}
