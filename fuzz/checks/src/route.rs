//! From a startup packet to a branch: a client never gets another branch than it names.

use nap_gateway::route::{Entrance, Route, route};
use nap_model::ids::BranchName;

/// Parameters go from the packet to the route; options are cut into words on the way.
pub(crate) const TARGET: crate::Target = crate::Target { name: "route", check, parse, allocates: (16 * 1024, 64) };

/// A way in that names no branch.
const FREE: Entrance<'_> = Entrance { door: None, label: None };
/// As PostgreSQL's NAMEDATALEN has it.
const NAME_MAX_BYTES: usize = 63;

/// Names and values, each ended by a NUL, as in a startup packet.
fn parameters(data: &[u8]) -> Option<Vec<(String, String)>> {
    let mut texts = str::from_utf8(data).ok()?.split('\0');
    let mut parameters = Vec::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        parameters.push((name.to_owned(), value.to_owned()));
    }
    Some(parameters)
}

fn parse(data: &[u8]) {
    if let Some(parameters) = parameters(data) {
        let _ = route(parameters, FREE, &BranchName::main());
    }
}

fn check(data: &[u8]) {
    let Some(parameters) = parameters(data) else { return };
    let (main, door): (_, BranchName) = (BranchName::main(), "door".parse().expect("a name"));
    let through = Entrance { door: Some(&door), label: Some("door") };
    let free = route(parameters.clone(), FREE, &main);
    match route(parameters, through, &main) {
        Ok(through_door) => assert_eq!(through_door.branch, door),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(route) = free {
        assert!(route.role.len() <= NAME_MAX_BYTES && route.database.len() <= NAME_MAX_BYTES && !route.role.is_empty());
        says_the_same(route);
    }
}

/// Said again in full, it is the same route.
fn says_the_same(first: Route) {
    let mut said = vec![
        ("user".to_owned(), format!("{}@{}", first.role, first.branch)),
        ("database".to_owned(), format!("{}@{}", first.database, first.branch)),
        ("options".to_owned(), first.options.clone()),
    ];
    said.extend(first.parameters.iter().cloned());
    // Two words that our own one stood between may have become one switch with its argument: then it names a branch only now.
    match route(said, FREE, &BranchName::main()) {
        Ok(again) => assert_eq!(again, first),
        Err(error) => panic!("{error}: {first:?}"),
    }
}
