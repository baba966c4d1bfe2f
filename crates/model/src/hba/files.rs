//! Files to lines: continuations, `@` lists, include directives. Reading itself is the caller's.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::line::{Field, fields};
use super::problem::{Place, Problem};

/// Where files are read from.
pub trait Files {
    /// The bytes of a file, an error if they are more than `max_bytes`.
    fn read(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>>;
    /// The names of the files in a directory; directories in it are left out.
    fn names(&self, directory: &Path) -> io::Result<Vec<String>>;
}

/// How deep files may include others: PostgreSQL's CONF_FILE_MAX_DEPTH.
const DEPTH_MAX: usize = 10;
/// How many files one may bring in, itself included. Includes that fan out would else be read for ever.
const FILES_MAX: usize = 1_000;
/// What all of them together may hold: room for some ten thousand rules.
const TOGETHER_MAX_BYTES: usize = 2 << 20;

/// A line that says something, after its `@` lists were read.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) fields: Vec<Field>,
}

/// Reads a file and all that it includes, as far as it can be read.
pub(super) fn read(files: &dyn Files, path: &Path) -> (Vec<Line>, Vec<Problem>) {
    let mut reader = Reader { files, opened: 0, bytes: 0, problems: Vec::new() };
    let mut lines = Vec::new();
    if let Err(unread) = reader.file(path, 0, &mut lines) {
        reader.problems.push(Problem { place: Place::whole(path), message: unread.message });
    }
    (lines, reader.problems)
}

struct Reader<'f> {
    files: &'f dyn Files,
    opened: usize,
    bytes: usize,
    problems: Vec<Problem>,
}

/// Why a file was not read.
struct Unread {
    message: String,
    missing: bool,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path, depth: usize, lines: &mut Vec<Line>) -> Result<(), Unread> {
        let text = self.text(path, depth)?;
        let file: Arc<Path> = path.into();
        for (number, logical) in logical_lines(&text) {
            let place = Place::new(file.clone(), number);
            if let Err(message) = self.line(place.clone(), &logical, depth, lines) {
                self.problems.push(Problem { place, message });
            }
        }
        Ok(())
    }

    fn text(&mut self, path: &Path, depth: usize) -> Result<String, Unread> {
        let cannot = |why: &str| format!("could not open file \"{}\": {why}", path.display());
        let refused = |why: &str| Unread { message: cannot(why), missing: false };
        if depth > DEPTH_MAX {
            return Err(refused("maximum nesting depth exceeded"));
        }
        self.opened += 1;
        if self.opened > FILES_MAX {
            return Err(refused(&format!("more than {FILES_MAX} files are included")));
        }
        let bytes = self.files.read(path, TOGETHER_MAX_BYTES.saturating_sub(self.bytes)).map_err(|error| Unread {
            message: cannot(&in_words(&error)),
            missing: error.kind() == io::ErrorKind::NotFound,
        })?;
        self.bytes += bytes.len();
        let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8"))?;
        if text.contains('\0') { Err(refused("it contains a zero byte")) } else { Ok(text) }
    }

    /// One line: a directive that includes others, or one for the caller.
    fn line(&mut self, place: Place, text: &str, depth: usize, lines: &mut Vec<Line>) -> Result<(), String> {
        let mut expanded = Vec::new();
        for field in fields(text) {
            let field = self.expand(field, place.file(), depth)?;
            if !field.is_empty() {
                expanded.push(field);
            }
        }
        if let [directive, what] = expanded.as_slice()
            && let (Some(directive), Some(what)) = (directive.first(), what.first())
        {
            match directive.text.as_str() {
                "include" => return self.include(&what.text, place.file(), depth, false, lines),
                "include_if_exists" => return self.include(&what.text, place.file(), depth, true, lines),
                "include_dir" => return self.include_directory(&what.text, place.file(), depth, lines),
                _ => {}
            }
        }
        if !expanded.is_empty() {
            lines.push(Line { place, fields: expanded });
        }
        Ok(())
    }

    /// Puts the tokens of `@` files in the place of their names.
    fn expand(&mut self, field: Field, outer: &Path, depth: usize) -> Result<Field, String> {
        let mut expanded = Field::new();
        for token in field {
            match token.behind('@').filter(|name| !name.is_empty()) {
                Some(name) => {
                    let mut lines = Vec::new();
                    self.file(&beside(outer, name), depth + 1, &mut lines).map_err(|unread| unread.message)?;
                    expanded.extend(lines.into_iter().flat_map(|line| line.fields).flatten());
                }
                None => expanded.push(token),
            }
        }
        Ok(expanded)
    }

    fn include(
        &mut self,
        name: &str,
        outer: &Path,
        depth: usize,
        may_be_missing: bool,
        lines: &mut Vec<Line>,
    ) -> Result<(), String> {
        match self.file(&beside(outer, name), depth + 1, lines) {
            Err(unread) if !(may_be_missing && unread.missing) => Err(unread.message),
            _ => Ok(()),
        }
    }

    /// Its `.conf` files, by name.
    fn include_directory(
        &mut self,
        name: &str,
        outer: &Path,
        depth: usize,
        lines: &mut Vec<Line>,
    ) -> Result<(), String> {
        if name.trim().is_empty() {
            return Err(format!("empty configuration directory name: \"{name}\""));
        }
        let directory = beside(outer, name);
        let mut names = self.files.names(&directory).map_err(|error| {
            format!("could not open configuration directory \"{}\": {}", directory.display(), in_words(&error))
        })?;
        names.retain(|name| name.ends_with(".conf") && !name.starts_with('.'));
        names.sort();
        names
            .iter()
            .try_for_each(|name| self.file(&directory.join(name), depth + 1, lines).map_err(|unread| unread.message))
    }
}

/// A path in a file is relative to that file. `..` is taken by the letter, as PostgreSQL does.
fn beside(outer: &Path, name: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in outer.parent().unwrap_or(Path::new("/")).join(name).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// Without the number that Rust adds.
fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Lines with their first line's number, continued where a line ends in a backslash. Quotes and comments go on with them.
fn logical_lines(text: &str) -> Vec<(u32, String)> {
    let mut logical = Vec::new();
    let mut lines = (1_u32..).zip(text.split_inclusive('\n'));
    while let Some((number, line)) = lines.next() {
        let mut whole = String::new();
        let mut next = Some(line);
        // A second backslash must stand on the next line: one that was there before is not looked at again.
        let mut seen = 0;
        while let Some(line) = next.take() {
            whole.push_str(line);
            whole.truncate(whole.trim_end_matches(['\r', '\n']).len());
            if whole.len() > seen && whole.ends_with('\\') {
                whole.pop();
                seen = whole.len();
                next = lines.next().map(|(_, line)| line);
            }
        }
        logical.push((number, whole));
    }
    logical
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_at_the_end_goes_on() {
        let lines = |text| logical_lines(text).into_iter().map(|(at, line)| format!("{at}:{line}")).collect::<Vec<_>>();
        assert_eq!(lines("a\r\nb \\\nc\\\r\nd\ne"), ["1:a", "2:b cd", "5:e"]);
        assert_eq!(lines("a\\\\\nb"), ["1:a\\b"]);
        assert_eq!(lines("a\\\n\\\nb\\"), ["1:ab"]);
        assert_eq!(lines("a\\\n\nb"), ["1:a", "3:b"]);
    }
}
