//! What a bench says: tables for people, one line of JSON for programs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// A figure that a target may be set for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

impl Figure {
    /// Without a target.
    pub(crate) fn new(name: &'static str, value: f64) -> Self {
        Self { name, value: rounded(value), target: None, met: None }
    }

    /// The target is met by this value or less.
    pub(crate) fn at_most(self, target: f64) -> Self {
        let met = Some(self.value <= target);
        Self { target: Some(target), met, ..self }
    }

    /// The target is met by this value or more.
    pub(crate) fn at_least(self, target: f64) -> Self {
        let met = Some(self.value >= target);
        Self { target: Some(target), met, ..self }
    }

    /// The target is met by less.
    pub(crate) fn below(self, target: f64) -> Self {
        let met = Some(self.value < target);
        Self { target: Some(target), met, ..self }
    }
}

/// The last line of every bench.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) bench: &'static str,
    pub(crate) results: Vec<Figure>,
}

/// The times of one row.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort_unstable();
    }

    /// At this share of the sorted times, in milliseconds.
    pub(crate) fn quantile_ms(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.0.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
    }

    pub(crate) fn median_ms(&self) -> f64 {
        self.quantile_ms(0.5)
    }
}

/// Rows as a Markdown table, each time in milliseconds and as a multiple of the first row's median.
pub(crate) fn table(first_column: &str, rows: &[(String, Times)]) -> String {
    let mut text =
        format!("| {first_column} | median ms | fastest | 90 % below | × first row |\n|---|--:|--:|--:|--:|\n");
    let base = rows.first().map_or(f64::NAN, |(_, times)| times.median_ms());
    for (name, times) in rows {
        let (median, least, most) = (times.median_ms(), times.quantile_ms(0.0), times.quantile_ms(0.9));
        text.push_str(&format!("| {name} | {median:.1} | {least:.1} | {most:.1} | {:.2} |\n", median / base));
    }
    text
}

/// The figures with their targets, missed ones said plainly.
pub(crate) fn targets(figures: &[Figure]) -> String {
    let mut text = String::from("| figure | value | target | |\n|---|--:|--:|---|\n");
    for figure in figures {
        let target = figure.target.map(|target| target.to_string()).unwrap_or_default();
        let verdict = figure.met.map_or("", |met| if met { "met" } else { "**missed**" });
        text.push_str(&format!("| `{}` | {:.2} | {target} | {verdict} |\n", figure.name, figure.value));
    }
    text
}

/// Replaces what stands between the marks of this bench.
pub(crate) fn write_section(file: &Path, bench: &str, section: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- bench {bench} -->\n"), format!("<!-- /bench {bench} -->"));
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let (before, rest) = text.split_once(&begin).with_context(|| format!("no mark {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no mark {end}"))?;
    std::fs::write(file, format!("{before}{begin}{section}{end}{after}"))?;
    Ok(())
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
