//! The `options` startup parameter: finding the branch and the moment in it and taking them out, without disturbing the rest.
//!
//! PostgreSQL splits the text at white space (a backslash escapes, `pg_split_opts`) and reads the words with getopt
//! (`process_postgres_switches`). Both are followed here to the letter: a word that only looks like ours, such as
//! the argument of another switch, must stay, and one that PostgreSQL would read as ours must be seen.

use nap_model::ids::BranchName;

/// PostgreSQL's switches that take an argument; `--name=value` is the switch `-` with an argument.
const SWITCHES_WITH_ARGUMENT: &str = "BCDcdfhkNprStvW-";

/// Which spelling in `options` named a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// `-c nap.branch=NAME` or `--nap.branch=NAME`
    Setting,
    /// Neon's `endpoint=NAME`
    Endpoint,
}

/// `options` without what is ours, and what was ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Every branch that was named, as it was written.
    pub named: Vec<(Spelling, String)>,
    /// The moment of the branch's past that is wanted, as it was written: `-c nap.at=WHEN`. The last one counts.
    pub at: Option<String>,
    /// The rest, in order and with its escapes.
    pub rest: String,
}

struct Word<'a> {
    raw: &'a str,
    text: String,
}

/// C's `isspace`, which `pg_split_opts` uses.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

fn split(options: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut left = options.trim_start_matches(is_space);
    while !left.is_empty() {
        let (mut text, mut escaped, mut end) = (String::new(), false, left.len());
        for (at, c) in left.char_indices() {
            if !escaped && is_space(c) {
                end = at;
                break;
            }
            if !escaped && c == '\\' {
                escaped = true;
            } else {
                escaped = false;
                text.push(c);
            }
        }
        // A last lone backslash stays: nothing comes to stand behind it.
        let (raw, rest) = left.split_at(end);
        words.push(Word { raw, text });
        left = rest.trim_start_matches(is_space);
    }
    words
}

/// As it must be written to be read as this: a backslash of it would else take in what comes behind it.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| (c == '\\' || is_space(c)).then_some('\\').into_iter().chain([c])).collect()
}

/// A setting of ours.
enum Ours<'a> {
    Branch(&'a str),
    At(&'a str),
}

/// The value, if this is an assignment to our setting. PostgreSQL turns `-` in such names into `_` and ignores case.
fn our_setting(assignment: &str) -> Option<Ours<'_>> {
    let (name, value) = assignment.split_once('=')?;
    let name = name.replace('-', "_").to_ascii_lowercase();
    match name.as_str() {
        "nap.branch" | "nap_branch" => Some(Ours::Branch(value)),
        "nap.at" | "nap_at" => Some(Ours::At(value)),
        _ => None,
    }
}

/// What getopt makes of one word that begins with `-`.
struct Switch<'a> {
    /// Switches without argument before the one that ends the word.
    flags: &'a str,
    /// The switch that takes an argument, and what of its argument stands in this word.
    last: Option<(char, &'a str)>,
}

fn switch(text: &str) -> Switch<'_> {
    let letters = text.strip_prefix('-').unwrap_or(text);
    let Some((at, letter)) = letters.char_indices().find(|(_, c)| SWITCHES_WITH_ARGUMENT.contains(*c)) else {
        return Switch { flags: letters, last: None };
    };
    let (flags, rest) = letters.split_at(at);
    Switch { flags, last: Some((letter, rest.strip_prefix(letter).unwrap_or(rest))) }
}

/// Takes the branches and the moment out of `options`.
pub fn take(options: &str) -> Taken {
    let (mut named, mut at) = (Vec::new(), None);
    let mut kept: Vec<String> = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        if word.text == "--" {
            // getopt stops here, and PostgreSQL refuses what follows.
            kept.push(word.raw.to_owned());
            kept.extend(words.by_ref().map(|word| word.raw.to_owned()));
            break;
        }
        if !word.text.starts_with('-') || word.text == "-" {
            match word.text.strip_prefix("endpoint=") {
                Some(name) => named.push((Spelling::Endpoint, name.to_owned())),
                None => kept.push(word.raw.to_owned()),
            }
            continue;
        }
        let switch = switch(&word.text);
        let Some((letter, inline)) = switch.last else {
            kept.push(word.raw.to_owned());
            continue;
        };
        let next = if inline.is_empty() { words.next() } else { None };
        let argument = next.as_ref().map_or(inline, |next| &next.text);
        match our_setting(argument).filter(|_| matches!(letter, 'c' | '-')) {
            Some(ours) => {
                match ours {
                    Ours::Branch(name) => named.push((Spelling::Setting, name.to_owned())),
                    Ours::At(when) => at = Some(when.to_owned()),
                }
                if !switch.flags.is_empty() {
                    kept.push(format!("-{}", escaped(switch.flags)));
                }
            }
            None => {
                kept.push(word.raw.to_owned());
                kept.extend(next.map(|next| next.raw.to_owned()));
            }
        }
    }
    Taken { named, at, rest: kept.join(" ") }
}

/// `options` for the backend, with `nap.branch` set, so that `SHOW nap.branch` answers. Ours stands first: after an
/// unfinished switch, a `--` or a last backslash of the client it would be read as something else.
pub fn with_branch(rest: &str, branch: &BranchName) -> String {
    if rest.is_empty() { format!("-c nap.branch={branch}") } else { format!("-c nap.branch={branch} {rest}") }
}

/// The same with `nap.at`.
pub fn with_moment(rest: &str, at: &str) -> String {
    format!("-c nap.at={} {rest}", escaped(at)).trim_end_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn taken(options: &str) -> (Vec<String>, String) {
        let taken = take(options);
        (taken.named.into_iter().map(|(_, name)| name).collect(), taken.rest)
    }

    #[test]
    fn the_moment_is_taken_out_too() {
        for options in [
            "-c nap.at=2026-11-20T12:00 -e",
            "--nap-at=2026-11-20T12:00 -e",
            "-c Nap.At=-1h -ecnap.at=2026-11-20T12:00",
        ] {
            let taken = take(options);
            assert_eq!((taken.at.as_deref(), taken.rest.as_str()), (Some("2026-11-20T12:00"), "-e"), "{options}");
        }
        assert_eq!(take(r"-c nap.at=2026-11-20\ 12:00").at.as_deref(), Some("2026-11-20 12:00"));
        assert_eq!(take("-c nap.attic=1"), Taken { rest: "-c nap.attic=1".into(), ..Taken::default() });
    }

    #[test]
    fn every_spelling_is_seen_and_taken_out() {
        for options in [
            "-c nap.branch=dev",
            "-cnap.branch=dev",
            "--nap.branch=dev",
            "  --nap-branch=dev ",
            "-c NAP.Branch=dev",
            "endpoint=dev",
            r"-c nap.br\anch=dev",
            "-\\-nap.branch=dev",
        ] {
            assert_eq!(taken(options), (vec!["dev".into()], String::new()), "{options}");
        }
        assert_eq!(taken("-ecnap.branch=dev"), (vec!["dev".into()], "-e".into()));
        assert_eq!(taken(r"-\\\ cnap.branch=dev -e"), (vec!["dev".into()], r"-\\\  -e".into()));
    }

    #[test]
    fn the_rest_keeps_its_order_and_escapes() {
        let (named, rest) = taken(r"-c a.b=x\ y -c nap.branch=dev  -c search_path=a\\b endpoint=dev -e");
        assert_eq!(named, ["dev", "dev"]);
        assert_eq!(rest, r"-c a.b=x\ y -c search_path=a\\b -e");
    }

    #[test]
    fn what_only_looks_like_ours_stays() {
        for options in [
            "-c endpoint=dev",
            "-d endpoint=dev",
            "-c -cnap.branch=dev",
            "-t nap.branch=dev",
            "-- nap.branch=dev",
            "-c nap.branch",
            "-c a.b=nap.branch=dev",
            r"-c a.b=1\ --nap.branch=dev",
        ] {
            assert_eq!(taken(options), (vec![], options.to_owned()), "{options}");
        }
    }

    #[test]
    fn nothing_of_ours_can_be_taken_for_the_clients() {
        for unfinished in ["-c a=b\\", "-c", "-d", "--", r"-c \"] {
            let options = with_branch(&take(unfinished).rest, &BranchName::main());
            assert_eq!(options, format!("-c nap.branch=main {unfinished}"));
            assert_eq!(take(&options).named, [(Spelling::Setting, "main".to_owned())]);
        }
    }

    proptest! {
        #[test]
        fn what_is_left_names_no_branch(options in r#"(-c |-c|--|-e|endpoint=|nap\.branch=|nap-branch=|[a-c\\=]|[ \t]){0,12}"#) {
            let rest = take(&options).rest;
            // A switch that lost nothing may still take what followed the words of ours as its argument: then there
            // was none before.
            prop_assert_eq!(take(&rest).rest, rest);
        }

        #[test]
        fn what_is_not_ours_comes_back(values in proptest::collection::vec("[ -~äß\\\\]{0,8}", 0..6)) {
            let options: Vec<String> = values
                .iter()
                .map(|value| format!("-c my.x={}", value.replace('\\', r"\\").replace(' ', r"\ ")))
                .collect();
            let options = options.join(" ");
            let taken = take(&options);
            prop_assert_eq!(&taken.rest, &options);
            let branch = BranchName::main();
            let again = take(&with_branch(&taken.rest, &branch));
            prop_assert_eq!(again.named, vec![(Spelling::Setting, "main".to_owned())]);
            prop_assert_eq!(again.rest, options);
        }

        #[test]
        fn a_branch_among_others_is_found(before in "(-c a=[a-z]{1,3} ){0,3}", after in "( -c b=[a-z]{1,3}){0,3}") {
            let taken = take(&format!("{before}-c nap.branch=dev{after}"));
            prop_assert_eq!(taken.named, vec![(Spelling::Setting, "dev".to_owned())]);
            let rest = format!("{}{}", before.trim_end(), if before.is_empty() { after.trim_start() } else { &after });
            prop_assert_eq!(taken.rest, rest);
        }
    }
}
