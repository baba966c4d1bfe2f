//! The `options` parameter: what is ours is found and taken out, what is not stays as it was.

use nap_gateway::options::{Spelling, take, with_branch};
use nap_model::ids::BranchName;

/// Words of one byte each cost a string each.
pub(crate) const TARGET: crate::Target = crate::Target { name: "options", check, parse, allocates: (1024, 64) };

fn parse(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        let _ = take(text);
    }
}

fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let taken = take(text);
    assert!(taken.rest.len() <= text.len());
    assert_eq!(take(&taken.rest).rest, taken.rest, "nothing is left to take");
    let branch: BranchName = "dev".parse().expect("a name");
    let sent = take(&with_branch(&taken.rest, &branch));
    assert_eq!(sent.named.first(), Some(&(Spelling::Setting, "dev".to_owned())), "a server is told its branch");
    assert_eq!(sent.rest, taken.rest);
}
