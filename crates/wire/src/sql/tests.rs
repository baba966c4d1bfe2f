use super::*;
use proptest::prelude::*;

#[test]
fn pings_are_known_in_every_dress() {
    for text in ["", " ", ";", " ; ;\n", "-- ping", "/* a /* nested */ comment */", "-- a\n/* b */;"] {
        assert_eq!(ping(text.as_bytes()), Some(PingText::Empty), "{text:?}");
    }
    for text in [
        "SELECT 1",
        "select 1",
        " SeLeCt\n\t1 ;",
        "SELECT 1;;",
        "/* ping */ SELECT 1",
        "SELECT/**/1",
        "SELECT 1 -- done",
        "-- x\nSELECT 1",
    ] {
        assert_eq!(ping(text.as_bytes()), Some(PingText::SelectOne), "{text:?}");
    }
}

#[test]
fn what_is_almost_a_ping_is_none() {
    for text in [
        "SELECT 2",
        "SELECT 1, 1",
        "SELECT 1.0",
        "SELECT 1e0",
        "SELECT 1x",
        "SELECT1",
        "SELECT +1",
        "SELECT 1 AS a",
        "SELECT 1 a",
        "SELECT '1'",
        "SELECT \"1\"",
        "SELECT 1; SELECT 1",
        "SELECT",
        "1",
        "/* open",
        "SELECT 1 /* open",
        "/* é */",
        "SELECT 1\u{b}",
        "; SELECT 1",
        "VALUES (1)",
        "SELECT 01",
        "SELECT 1\0",
    ] {
        assert_eq!(ping(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn a_single_prepare_is_told_from_what_only_holds_one() {
    for text in [
        "PREPARE a AS SELECT 1",
        "prepare a(int) as select $1; ",
        "-- c\nPREPARE a AS SELECT ';', $$;$$, $x$ ; $$ $x$, \";\", E'\\';' /* ; */ ; -- end",
        "PREPARE a AS SELECT 'it''s;'",
        "PREPARE a AS SELECT a$b, $1 FROM \"x\"\"; y\"",
    ] {
        assert!(is_single_prepare(text.as_bytes()), "{text:?}");
    }
    for text in [
        "",
        ";",
        "; PREPARE a AS SELECT 1",
        "INSERT INTO t VALUES (1); PREPARE a AS SELECT 1",
        "PREPARE a AS SELECT 1; INSERT INTO t VALUES (1)",
        "PREPARE a AS SELECT 1;; PREPARE b AS SELECT 1",
        "PREPARE a AS SELECT '\\'; DELETE FROM t --'",
        "PREPARE a AS SELECT 'open",
        "PREPARE a AS SELECT $$open",
        "PREPARE a AS SELECT /* open",
        "PREPARE a AS SELECT E'a'\n'b\\''; DELETE FROM t --'",
        "\"prepare\" a AS SELECT 1",
    ] {
        assert!(!is_single_prepare(text.as_bytes()), "{text:?}");
    }
}

fn names(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let dots = text.bytes().enumerate().filter(|(_, byte)| *byte == b'.').map(|(at, _)| at);
    dotted_names(text.as_bytes(), dots, |name| found.push(name));
    found
}

#[test]
fn dotted_names_are_found_anywhere() {
    assert_eq!(names("SET my.var = 'x'; SELECT set_config('app.user', $1, true)"), ["my.var", "app.user"]);
    assert_eq!(names("set \"a.b\" to 1.5, x.y.z"), ["a.b", "x.y.z"]);
    assert_eq!(names("1.2 a. .b a..b $1.x 1a.b c.1 _.$ a.b.1"), ["a.b"]);
    assert_eq!(names("'request.jwt.claim.sub'"), ["request.jwt.claim.sub"]);
    assert_eq!(names(&format!("a.{}", "b".repeat(300))), [""; 0]);
}

proptest! {
    #[test]
    fn no_text_is_a_panic(text in prop::collection::vec(prop::sample::select(b"aE1.$'\"\\/*-;\n \xe9_".to_vec()), 0..40)) {
        let _ = ping(&text);
        let _ = is_single_prepare(&text);
        dotted_names(&text, (0..text.len()).filter(|at| text[*at] == b'.'), |_| {});
    }
}
