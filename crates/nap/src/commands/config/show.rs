//! `nap config get`

use nap_model::settings::{SPECS, Spec};
use serde::Serialize;
use toml_edit::DocumentMut;

use super::known;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::output::table;

/// A setting and where its value comes from.
#[derive(Debug, Serialize)]
struct Shown {
    name: &'static str,
    /// As TOML; none: nothing is set, and there is no fixed default.
    value: Option<String>,
    set: bool,
    takes_effect: &'static str,
    meaning: &'static str,
}

pub(super) fn get(context: &Context, name: Option<&str>) -> Result<(), CommandError> {
    context.settings()?;
    let document = context.settings_text()?.parse::<DocumentMut>().unwrap_or_default();
    if let Some(name) = name {
        let shown = look_up(&document, known(name)?);
        let value = plain(shown.value.as_deref().unwrap_or_default());
        return context.output.result(&shown, || format!("{value}\n"));
    }
    let all: Vec<Shown> = SPECS.iter().map(|spec| look_up(&document, spec)).collect();
    context.output.result(&all, || table(&all))
}

fn look_up(document: &DocumentMut, spec: &'static Spec) -> Shown {
    let set = value_text(document, spec.name);
    let default = Some(spec.default).filter(|text| !text.is_empty()).map(str::to_owned);
    Shown {
        name: spec.name,
        set: set.is_some(),
        value: set.or(default),
        takes_effect: spec.applies.words(),
        meaning: spec.meaning,
    }
}

/// A setting's value in the file, as TOML without the comments around it.
pub(crate) fn value_text(document: &DocumentMut, name: &str) -> Option<String> {
    let mut value = document.get(name)?.as_value()?.clone();
    value.decor_mut().clear();
    Some(value.to_string())
}

/// For scripts: a string without its quotes.
pub(crate) fn plain(toml: &str) -> String {
    match toml.parse::<toml_edit::Value>() {
        Ok(toml_edit::Value::String(text)) => text.into_value(),
        _ => toml.to_owned(),
    }
}

fn table(all: &[Shown]) -> String {
    let mut table = table::with_header(["SETTING", "VALUE", "FROM", "CHANGES TAKE EFFECT"]);
    for shown in all {
        let value = shown.value.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([shown.name, &value, if shown.set { "nap.toml" } else { "default" }, shown.takes_effect]);
    }
    table::text(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_without_its_comment_and_for_scripts_without_quotes() {
        let document: DocumentMut = "sleep_after = '5min' # long\nport=5433\n".parse().unwrap();
        assert_eq!(value_text(&document, "sleep_after").unwrap(), "'5min'");
        assert_eq!(plain("'5min'"), "5min");
        assert_eq!(plain("[\"127.0.0.1\"]"), "[\"127.0.0.1\"]");
        assert_eq!(plain("5433"), "5433");
        assert!(value_text(&document, "role").is_none());
    }
}
