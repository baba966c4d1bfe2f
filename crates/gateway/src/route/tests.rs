use proptest::prelude::*;

use super::*;

fn routed(parameters: &[(&str, &str)], door: Option<&str>) -> Result<Route, RouteError> {
    let door = door.map(|name| name.parse::<BranchName>().unwrap());
    let owned = parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    route(owned, Entrance { door: door.as_ref(), label: None }, &BranchName::main())
}

fn names(parameters: &[(&str, &str)]) -> (String, String, String) {
    let route = routed(parameters, None).unwrap();
    (route.branch.to_string(), route.role, route.database)
}

fn three(branch: &str, role: &str, database: &str) -> (String, String, String) {
    (branch.into(), role.into(), database.into())
}

#[test]
fn every_way_names_the_branch() {
    assert_eq!(names(&[("user", "al"), ("database", "shop@dev")]), three("dev", "al", "shop"));
    assert_eq!(names(&[("user", "al@dev"), ("database", "shop")]), three("dev", "al", "shop"));
    assert_eq!(names(&[("user", "al"), ("options", "-c nap.branch=dev")]), three("dev", "al", "al"));
    assert_eq!(names(&[("user", "al"), ("options", "endpoint=dev")]), three("dev", "al", "al"));
    assert_eq!(names(&[("branch", "dev"), ("user", "al")]), three("dev", "al", "al"));
    assert_eq!(names(&[("Nap.Branch", "dev"), ("user", "al")]), three("dev", "al", "al"));
    assert_eq!(names(&[("user", "al")]), three("main", "al", "al"));
    assert_eq!(routed(&[("user", "al")], Some("dev")).unwrap().branch.as_str(), "dev");
}

#[test]
fn the_database_defaults_to_the_role() {
    assert_eq!(names(&[("user", "al@dev"), ("database", "al@dev")]), three("dev", "al", "al"), "as libpq fills it in");
    assert_eq!(names(&[("user", "al@dev")]), three("dev", "al", "al"));
    assert_eq!(names(&[("user", "al"), ("database", "@dev")]), three("dev", "al", "al"));
    assert_eq!(routed(&[("database", "x")], None), Err(RouteError::NoUser));
    assert_eq!(routed(&[("user", "@dev")], None), Err(RouteError::NoUser));
}

#[test]
fn the_last_at_splits() {
    assert_eq!(
        names(&[("user", "al@example.com@dev"), ("database", "a@b@dev")]),
        three("dev", "al@example.com", "a@b")
    );
    let error = routed(&[("user", "al@example.com")], None).unwrap_err();
    assert_eq!((error.sqlstate(), error.to_string().as_str()), ("3D000", "branch \"example.com\" does not exist"));
    assert!(error.hint().unwrap().contains("last @"));
}

/// node-postgres and postgres.js leave the database's name as it stands in the URL.
#[test]
fn an_encoded_at_is_refused_and_not_taken_for_the_default_branch() {
    for parameters in [&[("user", "al"), ("database", "shop%40dev")][..], &[("user", "al%40dev")]] {
        let error = routed(parameters, None).unwrap_err();
        assert_eq!(error.sqlstate(), "3D000");
        assert!(error.to_string().ends_with("%40dev\" contains a percent-encoded @"), "{error}");
        assert!(error.hint().unwrap().contains("write @ itself"));
    }
    assert_eq!(names(&[("user", "al"), ("database", "shop%40dev@main")]), three("main", "al", "shop%40dev"));
}

#[test]
fn two_branches_are_an_error_that_names_both() {
    let error = routed(&[("user", "al@one"), ("database", "shop@two")], None).unwrap_err();
    assert_eq!(error.sqlstate(), "22023");
    assert_eq!(error.to_string(), "the user name names branch \"one\", but the database name names branch \"two\"");
    for parameters in [
        &[("user", "al"), ("database", "d@dev")],
        &[("user", "al"), ("options", "--nap.branch=dev")],
        &[("user", "al"), ("branch", "dev")],
    ] {
        let error = routed(parameters, Some("other")).unwrap_err();
        assert!(error.to_string().starts_with("the socket or port it came through names branch \"other\""), "{error}");
    }
    assert!(routed(&[("user", "al"), ("database", "d@one"), ("database", "d@two")], None).is_err());
}

#[test]
fn there_is_no_read_only_way_yet() {
    let error = routed(&[("user", "al"), ("database", "shop@dev:ro")], None).unwrap_err();
    assert_eq!(error.sqlstate(), "0A000");
}

#[test]
fn an_unknown_branch_comes_with_the_nearest() {
    let known = ["main", "feature-login"].map(|name| name.parse().unwrap());
    let error = RouteError::unknown("feature-logn".parse().unwrap(), &known);
    assert_eq!((error.sqlstate(), error.to_string().as_str()), ("3D000", "branch \"feature-logn\" does not exist"));
    assert_eq!(error.hint().unwrap(), "Did you mean \"feature-login\"? `nap ls` shows all branches.");
    assert_eq!(RouteError::unknown("q".parse().unwrap(), &known).hint().unwrap(), "`nap ls` shows all branches.");
}

#[test]
fn replication_is_read_as_postgresql_reads_it() {
    let replication = |value| routed(&[("user", "al"), ("replication", value)], None).unwrap().replication;
    for yes in ["1", "on", "true", "T", "yes", "y"] {
        assert_eq!(replication(yes), Replication::Physical, "{yes}");
    }
    for no in ["0", "off", "false", "no", "o", "", "nonsense"] {
        assert_eq!(replication(no), Replication::No, "{no}");
    }
    assert_eq!(replication("database"), Replication::Logical);
    for (values, is) in [
        (["true", "database"], Replication::Logical),
        // It may speak SQL in the database: rules for physical replication are not for it.
        (["database", "true"], Replication::Logical),
        (["database", "false"], Replication::No),
        (["true", "false"], Replication::No),
    ] {
        let twice = values.map(|value| ("replication", value));
        assert_eq!(routed(&[&[("user", "al")], &twice[..]].concat(), None).unwrap().replication, is, "{values:?}");
    }
    let base_backup = [("user", "al@dev"), ("database", "replication"), ("replication", "true")];
    assert_eq!(names(&base_backup), three("dev", "al", "replication"));
}

#[test]
fn what_is_not_ours_goes_on_unchanged() {
    let given = [
        ("user", "al"),
        ("application_name", "x@y"),
        ("options", "-c a=b endpoint=dev -c c=d"),
        ("client_encoding", "UTF8"),
    ];
    let route = routed(&given, None).unwrap();
    assert_eq!(
        route.parameters,
        [("application_name".into(), "x@y".into()), ("client_encoding".into(), "UTF8".into())]
    );
    assert_eq!(route.options, "-c a=b -c c=d");
}

#[test]
fn long_names_are_cut_between_characters() {
    let route = routed(&[("user", &format!("{}ä@dev", "x".repeat(62)))], None).unwrap();
    assert_eq!(route.role, "x".repeat(62));
}

fn source() -> impl Strategy<Value = (usize, &'static str)> {
    (0usize..7, prop::sample::select(vec!["one", "two", "main"]))
}

proptest! {
    /// Whatever is combined: either every source names the branch that comes out, or it is an error.
    #[test]
    fn no_source_is_ever_contradicted(
        sources in prop::collection::vec(source(), 0..5),
        door in prop::option::of(prop::sample::select(vec!["one", "two", "main"])),
    ) {
        let mut parameters = vec![("user".to_owned(), "al".to_owned())];
        for (kind, branch) in &sources {
            let (name, value) = match kind {
                0 => ("user", format!("al@{branch}")),
                1 => ("database", format!("shop@{branch}")),
                2 => ("options", format!("-c a=b -c nap.branch={branch}")),
                3 => ("options", format!("--nap-branch={branch} -e")),
                4 => ("options", format!("endpoint={branch}")),
                5 => ("branch", (*branch).to_owned()),
                _ => ("nap.branch", (*branch).to_owned()),
            };
            parameters.push((name.to_owned(), value));
        }
        let door_name = door.map(|name| name.parse::<BranchName>().unwrap());
        let named: Vec<&str> = sources.iter().map(|(_, branch)| *branch).chain(door).collect();
        match route(parameters, Entrance { door: door_name.as_ref(), label: None }, &BranchName::main()) {
            Ok(route) => prop_assert!(named.iter().all(|name| *name == route.branch.as_str())),
            Err(RouteError::Disagreement { .. }) => {
                prop_assert!(named.iter().any(|name| Some(name) != named.first()));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn no_text_makes_it_panic(pairs: Vec<(String, String)>, names in prop::collection::vec("(user|database|options|branch|replication)", 0..5)) {
        let named = names.into_iter().zip(pairs.iter().map(|(_, v)| v.clone()));
        let _ = route(named.chain(pairs.clone()), Entrance::default(), &BranchName::main());
    }
}

#[test]
fn one_label_below_a_domain_names_a_branch() {
    let domains = ["localhost".to_owned(), "Db.example".to_owned()];
    for (name, label) in [
        ("dev.localhost", Some("dev")),
        ("DEV.LocalHost", Some("dev")),
        ("dev.localhost.", Some("dev")),
        ("dev.db.EXAMPLE", Some("dev")),
        ("localhost", None),
        ("a.dev.localhost", None),
        ("devlocalhost", None),
        (".localhost", None),
        ("db.example", None),
        ("dev.example", None),
    ] {
        assert_eq!(label_below(name, &domains).as_deref(), label, "{name}");
    }
    assert_eq!(label_below("dev.localhost", &[]), None);
    let nested = ["example".to_owned(), "db.example".to_owned()];
    assert_eq!(label_below("dev.db.example", &nested).as_deref(), Some("dev"), "of each domain it is asked");
}

#[test]
fn the_hosts_name_must_agree_with_the_other_ways() {
    let by_host = |label: &'static str, database: &str, door: Option<&BranchName>| {
        let given = [("user", "al"), ("database", database)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        route(given, Entrance { door, label: Some(label) }, &BranchName::main()).map(|route| route.branch.to_string())
    };
    let dev: BranchName = "dev".parse().unwrap();
    assert_eq!(by_host("dev", "shop", None).unwrap(), "dev");
    assert_eq!(by_host("dev", "shop@dev", Some(&dev)).unwrap(), "dev");
    assert!(matches!(by_host("dev", "shop@main", None), Err(RouteError::Disagreement { first: Way::ServerName, .. })));
    assert!(matches!(by_host("main", "shop", Some(&dev)), Err(RouteError::Disagreement { first: Way::Door, .. })));
    assert!(matches!(by_host("my_host", "shop", None), Err(RouteError::NotAName { way: Way::ServerName, .. })));
}
