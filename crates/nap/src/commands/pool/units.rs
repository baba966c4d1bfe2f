//! The systemd units of a pool: one mounts it at boot, a timer has it grow in time. Both run `nap` as root, so only a
//! `nap` that nobody else can change gets units.
//!
//! Not a .mount unit: that would mount whatever lies at the image's path, which a user could have put there, and through
//! the page cache of the disk below as well.

use std::path::{Path, PathBuf};

use nap_control::{Failure, FailureKind};
use nap_store::pool::{Progress, progress};
use nap_store::{Home, durable};

use super::told;
use crate::commands::service::{File, Step, argument, home_line, line, refuse_foreign, specifiers, word, write};
use crate::trust::may_run;

/// What every unit of a pool says of itself.
const MARK: &str = "Written by `nap pool create`; `nap uninstall` removes it.";
const DIRECTORY: &str = "/etc/systemd/system";
const MORE: &str = "`systemctl list-units 'napgres-pool-*'` and `journalctl -u 'napgres-pool-*'` say more";
/// A file system takes names of so many bytes.
const NAME_MAX_BYTES: usize = 255;

/// What became of it.
#[derive(Default)]
pub(super) struct AtBoot {
    /// The units.
    pub(super) wrote: Vec<PathBuf>,
    /// Lines for the user, where no units were enabled.
    pub(super) to_do: Vec<String>,
}

/// Writes them and enables them; where that cannot be, says what to do instead.
pub(super) fn install(home: &Home, directory: Option<&Path>) -> Result<AtBoot, Failure> {
    if !matches!(progress(home).map_err(told)?, Progress::Whole(_)) {
        return Ok(AtBoot::default());
    }
    let is_running = sd_notify::booted().unwrap_or(false);
    if directory.is_none() && !is_running {
        return Ok(AtBoot { wrote: Vec::new(), to_do: by_hand(home) });
    }
    let cannot = |error| Failure::failed("cannot find out which program this is").caused_by(&error);
    let program = std::env::current_exe().map_err(cannot)?;
    if directory.is_none() && !may_run(&program) {
        let why = format!(
            "it is not mounted at boot: {} could be changed by others than root, who would run as root then",
            program.display()
        );
        let cure = "install nap where only root can write, and have that one do `nap pool create` once more".to_owned();
        return Ok(AtBoot { wrote: Vec::new(), to_do: vec![why, cure] });
    }
    let files = files(home, &program, directory.unwrap_or(Path::new(DIRECTORY)))?;
    for file in &files {
        refuse_foreign(&file.path, MARK, &home_line(&line(home.root())?))?;
    }
    for file in &files {
        write(file)?;
    }
    if directory.is_none() {
        let names: Vec<&str> = files.iter().filter_map(|file| file.path.file_name()?.to_str()).collect();
        let enabled: Vec<&str> = names.iter().copied().filter(|name| !name.ends_with("-grow.service")).collect();
        Step::new(&["systemctl", "daemon-reload"], false, MORE).run()?;
        Step::new(&[&["systemctl", "enable", "--now"], enabled.as_slice()].concat(), false, MORE).run()?;
    }
    Ok(AtBoot { wrote: files.into_iter().map(|file| file.path).collect(), to_do: Vec::new() })
}

/// Where there is no systemd.
fn by_hand(home: &Home) -> Vec<String> {
    let nap = std::env::current_exe().map_or_else(|_| "nap".to_owned(), |path| path.display().to_string());
    let call = format!("{nap} --home {}", crate::output::quote::shell(&home.root().to_string_lossy()));
    vec![
        "there is no systemd here: to have it mounted at boot, run this as root before the daemon starts:".to_owned(),
        format!("    {call} pool mount"),
        "and to have it grow before it is full, add this line to root's crontab:".to_owned(),
        format!("    * * * * *  {} --quiet pool grow --if-needed", call.replace('%', "\\%")),
    ]
}

/// Where the units of this home lie, whether they are there or not.
fn paths(home: &Home, directory: &Path) -> Result<[PathBuf; 3], Failure> {
    let stem = format!("napgres-pool-{}", escaped(&line(home.root())?));
    let names = [format!("{stem}.service"), format!("{stem}-grow.service"), format!("{stem}-grow.timer")];
    if names.iter().any(|name| name.len() > NAME_MAX_BYTES) {
        return Err(Failure::failed("the home's path is too long for the name of a unit"));
    }
    Ok(names.map(|name| directory.join(name)))
}

fn files(home: &Home, program: &Path, directory: &Path) -> Result<Vec<File>, Failure> {
    let root = line(home.root())?;
    let head = format!("# {MARK}\n{}\n\n[Unit]\nDescription=Napgres: ", home_line(&root));
    let call = format!("{} --home {}", word(&line(program)?), argument(&root));
    let place = specifiers(&root);
    let mount = format!(
        "{head}the pool of {place}\n\
         RequiresMountsFor={}\n\
         # Whichever unit starts the daemon of this home, the pool is there first\n\
         Before=napgres.service\n\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={call} pool mount\nExecStop={call} pool unmount\n\n\
         [Install]\nWantedBy=multi-user.target napgres.service\n",
        word(&root)
    );
    let grow = format!(
        "{head}growth of the pool of {place}\n\n[Service]\nType=oneshot\nExecStart={call} --quiet pool grow --if-needed\n"
    );
    let timer = format!(
        "{head}a look at the pool of {place}\n\n[Timer]\nOnBootSec=1min\nOnUnitActiveSec=1min\nAccuracySec=15s\n\n\
         [Install]\nWantedBy=timers.target\n"
    );
    let paths = paths(home, directory)?.into_iter();
    Ok(paths.zip([mount, grow, timer]).map(|(path, text)| File { path, text }).collect())
}

/// As `systemd-escape --path` does it.
fn escaped(path: &str) -> String {
    let mut name = String::new();
    for (number, byte) in path.trim_matches('/').bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if number == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => name.push(char::from(byte)),
            byte => name.push_str(&format!("\\x{byte:02x}")),
        }
    }
    name
}

/// Whether there are units of this home's pool, which only root can remove.
pub(crate) fn are_there(home: &Home) -> bool {
    paths(home, Path::new(DIRECTORY)).is_ok_and(|paths| paths.iter().any(|path| path.symlink_metadata().is_ok()))
}

/// Whether there should be some, and are none.
pub(super) fn are_missing(home: &Home) -> bool {
    sd_notify::booted().unwrap_or(false) && !are_there(home)
}

/// Stops and removes them.
pub(crate) fn remove(home: &Home) -> Result<Vec<PathBuf>, Failure> {
    let directory = Path::new(DIRECTORY);
    let Ok(paths) = paths(home, directory) else { return Ok(Vec::new()) };
    let home_line = home_line(&line(home.root())?);
    let mut ours = Vec::new();
    for path in paths {
        match refuse_foreign(&path, MARK, &home_line) {
            Ok(true) => ours.push(path),
            Ok(false) => {}
            // Whoever wrote it, it is none of ours.
            Err(failure) if failure.kind == FailureKind::Conflict => {}
            Err(failure) => return Err(failure),
        }
    }
    if ours.is_empty() {
        return Ok(ours);
    }
    let is_running = sd_notify::booted().unwrap_or(false);
    if is_running {
        let names = ours.iter().filter_map(|path| path.file_name()?.to_str());
        let words: Vec<&str> = ["systemctl", "disable", "--now"].into_iter().chain(names).collect();
        Step::new(&words, false, MORE).run()?;
    }
    for path in &ours {
        let cannot = |error| Failure::failed(format!("cannot remove {}", path.display())).caused_by(&error);
        std::fs::remove_file(path).and_then(|()| durable::fsync_dir(directory)).map_err(cannot)?;
    }
    if is_running {
        Step::new(&["systemctl", "daemon-reload"], false, MORE).run()?;
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_systemds() {
        let has_program = Path::new("/usr/bin/systemd-escape").exists();
        for path in ["/var/lib/napgres", "/home/a b/.local/share/napgres", "/.h/x", "/a%b\\c/ä:_.-"] {
            let name = escaped(path);
            assert!(!name.contains('/') && !name.contains(' '), "{name}");
            if has_program {
                let said = std::process::Command::new("systemd-escape").arg("--path").arg(path).output().unwrap();
                assert_eq!(String::from_utf8_lossy(&said.stdout).trim_end(), name);
            }
        }
    }
}
