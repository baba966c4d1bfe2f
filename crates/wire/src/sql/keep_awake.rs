//! What a text says of `nap.keep_awake`.

/// The setting by which a session says whether its server is to stay awake.
pub const KEEP_AWAKE: &str = "nap.keep_awake";

/// The value that a text gives it last, however it does: `SET nap.keep_awake = off`, `SET nap.keep_awake TO DEFAULT`,
/// `set_config('nap.keep_awake', 'off', false)`, `RESET nap.keep_awake`. None: it gives none that is in the text.
pub fn keep_awake(text: &[u8]) -> Option<bool> {
    let mut said = None;
    let is_name = |window: &[u8]| window.eq_ignore_ascii_case(KEEP_AWAKE.as_bytes());
    for (at, _) in text.windows(KEEP_AWAKE.len()).enumerate().filter(|(_, window)| is_name(window)) {
        let (before, after) = (text.get(..at)?, text.get(at + KEEP_AWAKE.len()..)?);
        said = value(after, before).or(said);
    }
    said
}

fn value(after: &[u8], before: &[u8]) -> Option<bool> {
    if after.first().is_some_and(is_of_word) {
        return None;
    }
    if last_word(before).eq_ignore_ascii_case(b"reset") {
        return Some(false);
    }
    let (word, rest) = next_word(after);
    let word = if word.eq_ignore_ascii_case(b"to") { next_word(rest).0 } else { word };
    let is_any = |words: [&str; 4]| words.iter().any(|one| word.eq_ignore_ascii_case(one.as_bytes()));
    // Those that keep it awake are asked for in the same words when the session is parked.
    if is_any(["on", "true", "yes", "1"]) {
        Some(true)
    } else if is_any(["off", "false", "no", "0"]) || word.eq_ignore_ascii_case(b"default") {
        Some(false)
    } else {
        None
    }
}

fn is_of_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

/// The next word of the same statement or call, and what follows.
fn next_word(text: &[u8]) -> (&[u8], &[u8]) {
    let is_between = |byte: &&u8| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'\'' | b'"' | b',');
    let start = text.iter().take_while(is_between).count();
    let (_, text) = text.split_at(start);
    text.split_at(text.iter().take_while(|byte| is_of_word(byte)).count())
}

fn last_word(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii_end();
    let length = text.iter().rev().take_while(|byte| is_of_word(byte)).count();
    text.split_at(text.len() - length).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_it() {
        for (text, said) in [
            ("SET nap.keep_awake = off", Some(false)),
            ("set NAP.Keep_Awake to 'ON'", Some(true)),
            ("SET SESSION nap.keep_awake TO DEFAULT;", Some(false)),
            ("RESET nap.keep_awake", Some(false)),
            ("SELECT set_config('nap.keep_awake', 'off', false)", Some(false)),
            ("SET nap.keep_awake=on; SELECT 1; SET nap.keep_awake=0", Some(false)),
            ("SHOW nap.keep_awake", None),
            ("SHOW nap.keep_awake; SELECT 1", None),
            ("SELECT set_config('nap.keep_awake', $1, false)", None),
            ("SET nap.keep_awake_long = off", None),
            ("SET nap.keep_awake = perhaps", None),
            ("nap.keep_awake", None),
            ("", None),
        ] {
            assert_eq!(keep_awake(text.as_bytes()), said, "{text}");
        }
    }
}
