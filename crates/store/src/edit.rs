//! Changes one key of a TOML text and leaves the rest as people wrote it.

use toml_edit::{DocumentMut, Item, Table, Value};

/// The text with `name` set to `value` (`None`: taken out), in `table` or at the top, and what `parse` makes of it.
/// People type `sleep_after=5min` and `port=5433`: a value is taken as TOML if that gives a text that parses, else as a
/// string.
pub(crate) fn change<T>(
    text: &str,
    table: Option<&str>,
    name: &str,
    value: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<(String, T), String> {
    let document: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.to_string())?;
    let Some(value) = value else {
        return checked(document, table, name, None, &parse);
    };
    if let Ok(typed) = value.trim().parse::<Value>() {
        let is_list = typed.is_array();
        match checked(document.clone(), table, name, Some(typed), &parse) {
            // Nobody writes a list and means a text.
            Err(error) if is_list => return Err(error),
            Err(_) => {}
            done => return done,
        }
    }
    checked(document, table, name, Some(Value::from(value)), &parse)
}

fn checked<T>(
    mut document: DocumentMut,
    table: Option<&str>,
    name: &str,
    value: Option<Value>,
    parse: &impl Fn(&str) -> Result<T, String>,
) -> Result<(String, T), String> {
    let root = document.as_table_mut();
    let place = match table {
        None => root,
        Some(key) => root
            .entry(key)
            .or_insert_with(|| Item::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("[{key}] is not a table"))?,
    };
    match value {
        None => drop(place.remove(name)),
        Some(mut value) => match place.get_mut(name) {
            // The comment behind the old value stays.
            Some(Item::Value(old)) => {
                *value.decor_mut() = old.decor().clone();
                *old = value;
            }
            _ => drop(place.insert(name, Item::Value(value))),
        },
    }
    let text = document.to_string();
    let parsed = parse(&text)?;
    Ok((text, parsed))
}
