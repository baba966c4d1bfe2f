//! "Did you mean": the known names nearest to one that is not known.

/// At most this many names are offered.
const OFFERED_MAX: usize = 3;
/// Names less alike than this (Jaro–Winkler, 0 to 1) are noise rather than help.
const ALIKE_AT_LEAST: f64 = 0.7;

/// The names of `known` that look most like `wanted`, best first, three at most.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(score, _)| *score >= ALIKE_AT_LEAST)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(OFFERED_MAX).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn offers_the_likeliest_first_and_no_noise() {
        let known = ["main", "feature-login", "feature-logout", "zzz"];
        assert_eq!(super::nearest("mian", known), ["main"]);
        assert_eq!(super::nearest("feature-logn", known), ["feature-login", "feature-logout"]);
        assert!(super::nearest("qqq", known).is_empty());
    }
}
