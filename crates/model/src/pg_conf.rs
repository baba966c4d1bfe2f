//! `postgresql.conf` of a cluster that comes from elsewhere: what in it belongs to whoever ran the server is turned off, and
//! what it includes is put in its place. Reading itself is the caller's.

use std::path::{Path, PathBuf};

use crate::hba::Files;

mod line;
mod ours;

use line::{Setting, setting};
pub use ours::is_ours;

/// How deep files may include others: PostgreSQL's CONF_FILE_MAX_DEPTH.
const DEPTH_MAX: usize = 10;
/// How many files one may bring in. Includes that fan out would else be read for ever.
const FILES_MAX: usize = 1_000;
/// What all of them together may hold.
const TOGETHER_MAX_BYTES: usize = 16 << 20;

/// Why a configuration cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {message}", .file.display())]
pub struct BadConf {
    /// The file.
    pub file: PathBuf,
    /// Its line; 0 is the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// A configuration that can be another server's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Adopted {
    /// One file, without includes.
    pub text: String,
    /// The settings that were turned off, each once, in their order, with the last value of each.
    pub turned_off: Vec<(String, String)>,
}

impl Adopted {
    /// The value that a setting had which was turned off.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.turned_off.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn turn_off_line(&mut self, line: &str, name: &str, value: String) {
        self.push(&format!("#{line}\t# turned off by Napgres"));
        match self.turned_off.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.turned_off.push((name.to_owned(), value)),
        }
    }
}

/// Reads a `postgresql.conf` and all that it includes.
pub fn adopt(files: &dyn Files, path: &Path) -> Result<Adopted, BadConf> {
    let mut reader = Reader { files, opened: 0, bytes: 0, adopted: Adopted::default() };
    reader.file(path, 0).map_err(|message| BadConf {
        file: path.to_owned(),
        line: 0,
        message: message.into_text(),
    })??;
    Ok(reader.adopted)
}

/// The same for a text that includes nothing; where it does, that is turned off too.
pub fn adopt_text(text: &str) -> Adopted {
    turned_off(text, |name| is_ours(name) || matches!(name, "include" | "include_if_exists" | "include_dir"))
}

/// The same for a text that goes on to include what it includes.
pub fn without_ours(text: &str) -> Adopted {
    turned_off(text, is_ours)
}

fn turned_off(text: &str, goes: impl Fn(&str) -> bool) -> Adopted {
    let mut adopted = Adopted::default();
    text.lines().for_each(|line| match setting(line) {
        Some(Setting { name, value }) if goes(&name) => adopted.turn_off_line(line, &name, value),
        _ => adopted.push(line),
    });
    adopted
}

struct Reader<'f> {
    files: &'f dyn Files,
    opened: usize,
    bytes: usize,
    adopted: Adopted,
}

/// Why a file was not read.
enum Unread {
    Missing(String),
    Refused(String),
}

impl Unread {
    fn into_text(self) -> String {
        match self {
            Self::Missing(text) | Self::Refused(text) => text,
        }
    }
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<Result<(), BadConf>, Unread> {
        let text = self.text(path, depth)?;
        for (number, line) in (1..).zip(text.lines()) {
            if let Err(message) = self.line(line, path, depth) {
                return Ok(match message {
                    Wrong::Here(message) => Err(BadConf { file: path.to_owned(), line: number, message }),
                    Wrong::Further(wrong) => Err(wrong),
                });
            }
        }
        Ok(Ok(()))
    }

    fn text(&mut self, path: &Path, depth: usize) -> Result<String, Unread> {
        self.opened += 1;
        let cannot = |why: &str| format!("could not open configuration file \"{}\": {why}", path.display());
        if depth > DEPTH_MAX {
            return Err(Unread::Refused(cannot("maximum nesting depth exceeded")));
        }
        if self.opened > FILES_MAX {
            return Err(Unread::Refused(cannot("too many files are included")));
        }
        let bytes = self.files.read(path, TOGETHER_MAX_BYTES.saturating_sub(self.bytes)).map_err(|error| {
            let text = cannot(error.to_string().split(" (os error").next().unwrap_or_default());
            if error.kind() == std::io::ErrorKind::NotFound { Unread::Missing(text) } else { Unread::Refused(text) }
        })?;
        self.bytes += bytes.len();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn line(&mut self, line: &str, outer: &Path, depth: usize) -> Result<(), Wrong> {
        let Some(Setting { name, value }) = setting(line) else {
            self.adopted.push(line);
            return Ok(());
        };
        match name.as_str() {
            "include" => self.include(&value, outer, depth, false),
            "include_if_exists" => self.include(&value, outer, depth, true),
            "include_dir" => self.include_directory(&value, outer, depth),
            name if is_ours(name) => {
                self.adopted.turn_off_line(line, name, value);
                Ok(())
            }
            _ => {
                self.adopted.push(line);
                Ok(())
            }
        }
    }

    fn include(&mut self, name: &str, outer: &Path, depth: usize, may_be_missing: bool) -> Result<(), Wrong> {
        let path = beside(outer, name);
        self.adopted.push(&format!("# from {}:", path.display()));
        match self.file(&path, depth + 1) {
            Ok(read) => read.map_err(Wrong::Further),
            Err(Unread::Missing(_)) if may_be_missing => Ok(()),
            Err(unread) => Err(Wrong::Here(unread.into_text())),
        }
    }

    /// Its `.conf` files, by name.
    fn include_directory(&mut self, name: &str, outer: &Path, depth: usize) -> Result<(), Wrong> {
        let directory = beside(outer, name);
        let mut names = self.files.names(&directory).map_err(|error| {
            let why = error.to_string();
            let why = why.split(" (os error").next().unwrap_or_default();
            Wrong::Here(format!("could not open configuration directory \"{}\": {why}", directory.display()))
        })?;
        names.retain(|name| name.ends_with(".conf") && !name.starts_with('.'));
        names.sort();
        names.iter().try_for_each(|name| self.include(&directory.join(name).to_string_lossy(), outer, depth, false))
    }
}

/// What is wrong in this file, or in one that it includes.
enum Wrong {
    Here(String),
    Further(BadConf),
}

/// A path in a file is relative to that file.
fn beside(outer: &Path, name: &str) -> PathBuf {
    outer.parent().unwrap_or(Path::new("/")).join(name)
}

/// A line that sets this.
pub fn written(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests;
