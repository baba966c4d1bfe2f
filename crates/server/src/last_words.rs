//! What a program said last, for the error that tells of its failure.

/// So many lines are told.
const LAST_LINES: usize = 8;

/// The last lines, without the statements: an error travels far, and they hold passwords.
pub(crate) fn last_words(printed: &str) -> String {
    let mut of_statement = false;
    let told = printed.trim().lines().filter(|line| {
        // The further lines of a statement begin with a tab.
        of_statement = line.contains("STATEMENT:") || (of_statement && line.starts_with('\t'));
        !of_statement
    });
    let lines: Vec<&str> = told.collect();
    lines.get(lines.len().saturating_sub(LAST_LINES)..).unwrap_or_default().join("\n")
}
