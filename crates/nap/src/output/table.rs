//! Tables for people: no lines, a heading, no white space at either end.

use comfy_table::{Table, presets};

/// A table with this heading.
pub(crate) fn with_header<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.into_iter().collect::<Vec<_>>());
    table
}

/// Its lines, each with its end.
pub(crate) fn text(mut table: Table) -> String {
    // The first column's own left padding would push all off the margin.
    if let Some(column) = table.column_mut(0) {
        column.set_padding((0, 1));
    }
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
