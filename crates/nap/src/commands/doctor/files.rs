//! The files that people write, and the number of the layout.

use nap_model::hba::beyond_loopback;
use nap_store::StoreError;
use nap_store::create::read_format;

use super::{Finding, Patient};
use crate::rules::RuleBook;

pub(super) fn settings(patient: &Patient<'_>) -> Vec<Finding> {
    vec![match &patient.settings_problem {
        None => Finding::ok(patient.context.home.nap_toml().display().to_string()),
        Some(failure) => Finding::fail(failure.to_string(), "correct the file, then `nap config check`"),
    }]
}

pub(super) fn rules(patient: &Patient<'_>) -> Vec<Finding> {
    let home = &patient.context.home;
    // A home that has not been made yet gets its rules with the first start.
    if !home.pg_hba().exists() {
        return Vec::new();
    }
    vec![match RuleBook::load(home, beyond_loopback(&patient.settings.listen_addresses)) {
        Ok(_) => Finding::ok(home.pg_hba().display().to_string()),
        Err(problems) => {
            Finding::fail(problems.to_string(), "correct it, then `nap config check` and `nap config reload`")
        }
    }]
}

pub(super) fn format(patient: &Patient<'_>) -> Vec<Finding> {
    match read_format(&patient.context.home) {
        Ok(None) => Vec::new(),
        Ok(Some(format)) => vec![Finding::ok(format!("{format}"))],
        Err(error) => {
            let cure = match &error {
                StoreError::FormatTooNew { writer, .. } => format!("use {writer} or newer for this home"),
                error => error.hint().map_or_else(|| "look at that file".to_owned(), Into::into),
            };
            vec![Finding::fail(error.to_string(), cure)]
        }
    }
}
