//! `nap set BRANCH`, with nothing to change: what holds for the branch, and from where.

use nap_control::{Failure, FailureKind};
use nap_model::ids::BranchName;
use nap_model::settings::SPECS;
use nap_store::BranchRecord;
use serde::Serialize;
use serde_json::Value;
use toml_edit::DocumentMut;

use super::DEFAULT;
use crate::branch_names;
use crate::command_error::CommandError;
use crate::commands::config::{plain, value_text};
use crate::context::Context;
use crate::output::table;

const PROTECTED: &str = "protected";
const TTL: &str = "ttl";

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Shown {
    name: &'static str,
    /// None: nothing is set, and there is no fixed default.
    value: Option<String>,
    /// `branch`, `nap.toml` or `default`.
    from: &'static str,
}

pub(super) fn show(context: &Context, branch: &BranchName) -> Result<(), CommandError> {
    let dir = context.home.branch(branch);
    if !dir.root.exists() {
        return Err(branch_names::no_such_branch(&context.home, branch).into());
    }
    let record = BranchRecord::load(&dir).map_err(|error| Failure::from_error(FailureKind::Failed, &error))?;
    let is_default = context.settings()?.default_branch == *branch;
    let own = serde_json::to_value(&record.settings).unwrap_or_default();
    let home = context.settings_text()?.parse::<DocumentMut>().unwrap_or_default();
    let mut all = settings(&own, &home);
    all.extend(fates(&record, is_default));
    context.output.result(&all, || text(&all))
}

fn settings(own: &Value, home: &DocumentMut) -> Vec<Shown> {
    let specs = SPECS.iter().filter(|spec| spec.per_branch);
    let shown = specs.map(|spec| {
        let of_home = || value_text(home, spec.name).map(|text| (plain(&text), "nap.toml"));
        let default = || Some(plain(spec.default)).filter(|text| !text.is_empty());
        match own.get(spec.name).map(|value| (words(value), "branch")).or_else(of_home) {
            Some((value, from)) => Shown { name: spec.name, value: Some(value), from },
            None => Shown { name: spec.name, value: default(), from: "default" },
        }
    });
    shown.collect()
}

fn words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What no home has.
fn fates(record: &BranchRecord, is_default: bool) -> [Shown; 3] {
    let switch = |name, on| Shown {
        name,
        value: Some(if on { "on" } else { "off" }.to_owned()),
        from: if on { "branch" } else { "default" },
    };
    let expires = record.expires.map(|moment| format!("until {moment:.0}"));
    let from = if expires.is_some() { "branch" } else { "default" };
    [Shown { name: TTL, value: expires, from }, switch(PROTECTED, record.protected), switch(DEFAULT, is_default)]
}

fn text(all: &[Shown]) -> String {
    let mut table = table::with_header(["SETTING", "VALUE", "FROM"]);
    for shown in all {
        table.add_row([shown.name, shown.value.as_deref().unwrap_or("-"), shown.from]);
    }
    table::text(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_branch_comes_first_then_the_home_then_the_default() {
        let home: DocumentMut = "sleep_after = '5min'\npark = 'off'\n".parse().unwrap();
        let all = settings(&serde_json::json!({ "sleep_after": "1h", "history_max_gb": 3 }), &home);
        let of = |name| all.iter().find(|shown| shown.name == name).unwrap();
        let shown = |name| (of(name).value.as_deref(), of(name).from);
        assert_eq!(shown("sleep_after"), (Some("1h"), "branch"));
        assert_eq!(shown("history_max_gb"), (Some("3"), "branch"));
        assert_eq!(shown("park"), (Some("off"), "nap.toml"));
        assert_eq!(shown("flash"), (Some("auto"), "default"));
        assert_eq!(shown("port"), (None, "default"));
    }
}
