//! Why a value cannot be that of a setting, in words about the value: where it would stand in a file is of no interest to
//! whoever typed it on a command line.

use nap_control::Failure;
use nap_model::settings::{BadSettings, Settings, Spec};
use toml_edit::Value;

use crate::command_error::CommandError;
use crate::commands::set::Assignment;

/// Refuses what the setting cannot be. It is taken as the store takes it: as TOML if that will do, else as a string.
pub(crate) fn check(spec: &Spec, set: &Assignment) -> Result<(), Failure> {
    if set.value.is_empty() {
        return Ok(());
    }
    let typed = set.value.parse::<Value>().ok();
    let tried = |value: &Value| Settings::parse(&format!("{} = {value}", set.name)).err();
    let as_typed = typed.as_ref().map(tried);
    if as_typed == Some(None) {
        return Ok(());
    }
    let Some(as_text) = tried(&Value::from(set.value.as_str())) else { return Ok(()) };
    // A number that is out of its range is told so, not that it is no string.
    let wants_text = spec.default.starts_with('"');
    let is_text = typed.as_ref().is_some_and(Value::is_str);
    let bad = as_typed.flatten().filter(|_| is_text || !wants_text).unwrap_or(as_text);
    Err(refused(set, &bad))
}

/// The failure that says so.
pub(crate) fn refused(set: &Assignment, bad: &BadSettings) -> Failure {
    let reason = match bad {
        // Some reasons begin with the name, which has just been said.
        BadSettings::Value(text) => {
            let line = last_line(text);
            line.strip_prefix(&format!("{}: ", set.name)).map_or(line.clone(), str::to_owned)
        }
        BadSettings::Unknown { .. } => bad.to_string(),
    };
    CommandError::usage(format!("{} cannot be \"{}\"", set.name, set.value)).because(reason)
}

/// A TOML error draws the file's line first; what is wrong stands at its end.
fn last_line(text: &str) -> String {
    text.trim_end().lines().last().unwrap_or_default().to_owned()
}
