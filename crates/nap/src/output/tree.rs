//! Branches as a tree.

use std::collections::{BTreeMap, BTreeSet};

use nap_control::BranchReport;
use nap_model::ids::BranchName;

/// A branch in its place, and the lines drawn before its name.
pub(crate) struct Row<'a> {
    pub(crate) stem: String,
    pub(crate) branch: &'a BranchReport,
}

/// The branches, children below their parents, names in order.
pub(crate) fn rows(branches: &[BranchReport]) -> Vec<Row<'_>> {
    let known: BTreeSet<&BranchName> = branches.iter().map(|branch| &branch.name).collect();
    let mut children: BTreeMap<Option<&BranchName>, Vec<&BranchReport>> = BTreeMap::new();
    for branch in branches {
        // Whose parent has been removed stands as a root.
        let parent = branch.parent.as_ref().filter(|parent| known.contains(parent));
        children.entry(parent).or_default().push(branch);
    }
    for siblings in children.values_mut() {
        siblings.sort_by(|a, b| b.default.cmp(&a.default).then(a.name.cmp(&b.name)));
    }
    let mut rows = Vec::new();
    grow(&children, None, "", &mut rows);
    // A record that somebody edited into a circle has no root: it is shown all the same.
    let shown: BTreeSet<&BranchName> = rows.iter().map(|row| &row.branch.name).collect();
    let circles: Vec<&BranchReport> = branches.iter().filter(|branch| !shown.contains(&branch.name)).collect();
    rows.extend(circles.into_iter().map(|branch| Row { stem: String::new(), branch }));
    rows
}

fn grow<'a>(
    children: &BTreeMap<Option<&BranchName>, Vec<&'a BranchReport>>,
    parent: Option<&BranchName>,
    trunk: &str,
    rows: &mut Vec<Row<'a>>,
) {
    let siblings = children.get(&parent).map(Vec::as_slice).unwrap_or_default();
    for (at, branch) in siblings.iter().enumerate() {
        let last = at + 1 == siblings.len();
        let (stem, below) = match (parent.is_some(), last) {
            (false, _) => (String::new(), String::new()),
            (true, false) => (format!("{trunk}├─ "), format!("{trunk}│  ")),
            (true, true) => (format!("{trunk}└─ "), format!("{trunk}   ")),
        };
        rows.push(Row { stem, branch });
        grow(children, Some(&branch.name), &below, rows);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nap_model::ids::{BranchId, Major};
    use nap_model::span::Span;
    use nap_model::status::ServerStatus;

    pub(crate) fn branch(name: &str, parent: Option<&str>) -> BranchReport {
        BranchReport {
            name: name.parse().unwrap(),
            id: BranchId::from_bytes([0; 4]),
            major: Major(15),
            parent: parent.map(|parent| parent.parse().unwrap()),
            branched_at: None,
            created: "2026-11-20T10:00:00Z".into(),
            expires: None,
            shows: None,
            protected: false,
            default: name == "main",
            status: ServerStatus::asleep(0),
            sleep_after: Span::seconds(30),
            door: None,
            last_used: None,
            disk: None,
            port: None,
        }
    }

    fn drawn(branches: &[BranchReport]) -> Vec<String> {
        rows(branches).iter().map(|row| format!("{}{}", row.stem, row.branch.name)).collect()
    }

    #[test]
    fn children_stand_below_their_parents() {
        let branches = [("a", None), ("b", Some("main")), ("c", Some("b")), ("d", Some("main")), ("main", None)]
            .map(|(n, p)| branch(n, p));
        assert_eq!(drawn(&branches), ["main", "├─ b", "│  └─ c", "└─ d", "a"]);
    }

    #[test]
    fn orphans_and_circles_are_shown() {
        let branches = [branch("orphan", Some("gone")), branch("x", Some("y")), branch("y", Some("x"))];
        assert_eq!(drawn(&branches), ["orphan", "x", "y"]);
    }
}
