//! "Did you mean": the known names nearest to one that is not known.

use std::fmt::Display;

/// At most this many names are offered.
const OFFERED_MAX: usize = 3;
/// Names less alike than this (Jaro–Winkler, 0 to 1) are noise rather than help.
const ALIKE_AT_LEAST: f64 = 0.7;
/// Names that are less alike than the best by more than this were not meant.
const BEHIND_AT_MOST: f64 = 0.1;

/// The names of `known` that look most like `wanted`, best first, three at most.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(score, _)| *score >= ALIKE_AT_LEAST)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let best = scored.first().map_or(0.0, |(score, _)| *score);
    let near = scored.into_iter().filter(|(score, _)| best - score <= BEHIND_AT_MOST);
    near.take(OFFERED_MAX).map(|(_, name)| name).collect()
}

/// What may have been meant, as a question for people: `did you mean main or maintenance?`; none if nothing is near.
pub fn did_you_mean<T: Display>(nearest: impl IntoIterator<Item = T>) -> Option<String> {
    let names: Vec<String> = nearest.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() { None } else { Some(format!("did you mean {}?", names.join(" or "))) }
}

/// The same in parentheses, to stand behind a message; empty if nothing is near.
pub fn in_parentheses<T: Display>(nearest: impl IntoIterator<Item = T>) -> String {
    did_you_mean(nearest).map(|question| format!(" ({question})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn offers_the_likeliest_first_and_no_noise() {
        let known = ["main", "feature-login", "feature-logout", "zzz"];
        assert_eq!(super::nearest("mian", known), ["main"]);
        assert_eq!(super::nearest("feature-logn", known), ["feature-login", "feature-logout"]);
        assert!(super::nearest("qqq", known).is_empty());
        assert_eq!(super::nearest("max_awak", ["max_startup_packet_bytes", "max_awake"]), ["max_awake"]);
    }

    #[test]
    fn one_wording_for_everybody() {
        assert_eq!(super::did_you_mean(["main"]).unwrap(), "did you mean main?");
        assert_eq!(super::did_you_mean(["a", "b"]).unwrap(), "did you mean a or b?");
        assert_eq!(super::did_you_mean([""; 0]), None);
        assert_eq!(super::in_parentheses(["a"]), " (did you mean a?)");
        assert_eq!(super::in_parentheses([""; 0]), "");
    }
}
