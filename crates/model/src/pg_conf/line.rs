//! One line of a `postgresql.conf`, as `src/backend/utils/misc/guc-file.l` reads it.

/// A line that sets something, or includes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// In lower case: PostgreSQL does not tell them apart.
    pub(super) name: String,
    /// Without its quotes.
    pub(super) value: String,
}

/// What a line sets; none: it is blank, a comment, or nothing that PostgreSQL would read.
pub(super) fn setting(line: &str) -> Option<Setting> {
    let line = line.trim_start();
    let end = line.find(|letter: char| !is_of_name(letter)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
    let value = match rest.strip_prefix('\'') {
        Some(quoted) => unquoted(quoted),
        None => rest.split(|letter: char| letter.is_whitespace() || letter == '#').next()?.to_owned(),
    };
    Some(Setting { name: name.to_ascii_lowercase(), value })
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '$') || !letter.is_ascii()
}

/// Up to the closing quote: two quotes are one, and so is what a backslash stands before.
fn unquoted(text: &str) -> String {
    let mut value = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' if letters.peek() == Some(&'\'') => {
                letters.next();
                value.push('\'');
            }
            '\'' => break,
            '\\' => match letters.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(other) => value.push(other),
                None => {}
            },
            other => value.push(other),
        }
    }
    value
}
