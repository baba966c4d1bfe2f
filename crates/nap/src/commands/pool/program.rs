//! The system's programs that make, mount and grow file systems: run without a shell, their words in English.

use std::io;
use std::process::{Command, Stdio};

use nap_control::Failure;

use crate::output::quote;

/// Where they lie, also for those whose PATH does not say so (cron).
const ALSO_IN: &str = "/usr/sbin:/sbin:/usr/bin:/bin";
/// Of what a program says, so much is told.
const SAID_MAX_CHARS: usize = 1_000;

/// A program, and the package it comes with.
pub(super) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{ALSO_IN}")).env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
    command
}

/// Runs it to its end, and gives what it said on standard output.
pub(super) fn run(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing(&name),
        _ => Failure::failed(format!("cannot run {name}")).caused_by(&error),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(SAID_MAX_CHARS).collect();
    Err(Failure::failed(format!("`{}` failed", line(command))).because(if said.is_empty() {
        output.status.to_string()
    } else {
        said
    }))
}

/// As it is typed.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quote::shell(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn missing(name: &str) -> Failure {
    let (debian, fedora) = match name {
        "mkfs.btrfs" | "btrfs" => ("btrfs-progs", "btrfs-progs"),
        "mkfs.xfs" | "xfs_growfs" => ("xfsprogs", "xfsprogs"),
        "cp" | "mkdir" => ("coreutils", "coreutils"),
        "losetup" | "mount" | "umount" => ("mount", "util-linux"),
        _ => ("util-linux", "util-linux"),
    };
    let hint = format!("Debian and Ubuntu: apt install {debian}; Fedora: dnf install {fedora}.");
    Failure::failed(format!("the program {name} is missing")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_or_fails_is_named() {
        let failure = run(&mut program("mkfs.no-such")).unwrap_err();
        assert_eq!(failure.message, "the program mkfs.no-such is missing");
        assert!(missing("mkfs.btrfs").hint.is_some_and(|hint| hint.contains("apt install btrfs-progs")));
        let failure = run(program("ls").arg("/no such")).unwrap_err();
        assert_eq!(failure.message, "`ls '/no such'` failed");
        assert!(failure.cause[0].contains("No such file"), "{failure:?}");
        assert_eq!(run(program("echo").arg("well")).unwrap(), "well");
    }
}
