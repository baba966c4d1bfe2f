//! `nap config set`

use nap_control::{Answer, ConfigChange, ConfigReport, Failure, FailureKind, Request};
use nap_model::settings::{Applies, Spec};
use nap_store::{Home, StoreError, config, durable};
use toml_edit::DocumentMut;

use super::show::value_text;
use super::{known, say_changes, value};
use crate::branch_names::no_such_branch;
use crate::command_error::CommandError;
use crate::commands::set::Assignment;
use crate::context::{Context, unexpected};

pub(super) fn set(context: &Context, assignments: &[Assignment]) -> Result<(), CommandError> {
    let specs = assignments.iter().map(|set| known(&set.name)).collect::<Result<Vec<_>, _>>()?;
    if !context.home.root().is_dir() {
        let message = format!("there is no home at {}", context.home.root().display());
        return Err(Failure::new(FailureKind::NotFound, message).hint("`nap up` makes it").into());
    }
    // A file that cannot be used is told with its name, before the values are looked at.
    context.settings()?;
    for (spec, set) in specs.iter().zip(assignments) {
        value::check(spec, set)?;
        check_default_branch(&context.home, set)?;
    }
    write_all(context, assignments)?;
    let up = match context.ask_if_up(&Request::ReloadConfig)? {
        None => false,
        Some(Answer::Config(_) | Answer::Done) => true,
        Some(other) => return Err(unexpected(&other)),
    };
    let document = context.settings_text()?.parse::<DocumentMut>().unwrap_or_default();
    let changes = specs.iter().map(|spec| change(spec, value_text(&document, spec.name))).collect();
    let report = ConfigReport { changes };
    if up {
        context.output.result(&report, || say(&specs, &report))
    } else {
        context.output.result(&report, || later(&report))
    }
}

fn change(spec: &Spec, value: Option<String>) -> ConfigChange {
    ConfigChange { name: spec.name.to_owned(), value, at_restart: spec.applies == Applies::Restart }
}

fn say(specs: &[&Spec], report: &ConfigReport) -> String {
    let text = say_changes(report);
    if specs.iter().any(|spec| spec.applies == Applies::NewBranches) {
        // "now" would promise too much.
        return format!("{text}existing branches keep what they have\n");
    }
    text
}

/// Without a daemon nothing takes effect now.
fn later(report: &ConfigReport) -> String {
    let say = |change: &ConfigChange| {
        format!(
            "{} = {} (takes effect at the next `nap up`)\n",
            change.name,
            change.value.as_deref().unwrap_or("its default")
        )
    };
    report.changes.iter().map(say).collect()
}

/// All of them, or none: the file becomes what it was when one cannot be set.
fn write_all(context: &Context, assignments: &[Assignment]) -> Result<(), CommandError> {
    let before = context.settings_text()?;
    for (at, set) in assignments.iter().enumerate() {
        let value = Some(set.value.as_str()).filter(|value| !value.is_empty());
        if let Err(error) = config::set(&context.home, &set.name, value) {
            if at > 0 {
                let path = context.home.nap_toml();
                durable::write_atomic(&path, before.as_bytes(), 0o644)
                    .map_err(|error| Failure::failed(format!("cannot write {}", path.display())).caused_by(&error))?;
            }
            let StoreError::BadSetting(bad) = &error else { return Err(error.into()) };
            return Err(value::refused(set, bad).into());
        }
    }
    Ok(())
}

/// Clients that name no branch would be refused by one that is not there.
fn check_default_branch(home: &Home, set: &Assignment) -> Result<(), Failure> {
    if set.name != "default_branch" || set.value.is_empty() {
        return Ok(());
    }
    let name = set.value.trim_matches(['"', '\'']).parse();
    match name.ok().filter(|name| !home.branch(name).root.is_dir()) {
        Some(missing) => Err(no_such_branch(home, &missing)),
        None => Ok(()),
    }
}
