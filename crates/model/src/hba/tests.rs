//! Rules as they are written, and what becomes of connections by them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::client_error::ClientError;

/// Files by their paths.
struct Shelf<'t>(BTreeMap<&'static str, &'t str>);

impl Files for Shelf<'_> {
    fn read(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        let text = self.0.get(path.to_str().unwrap()).ok_or(io::ErrorKind::NotFound)?;
        if text.len() > max_bytes { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text.as_bytes().to_vec()) }
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let in_it = self.0.keys().filter(|path| Path::new(path).parent() == Some(directory));
        Ok(in_it.map(|path| path.rsplit('/').next().unwrap().to_owned()).collect())
    }
}

fn load(files: &[(&'static str, &'static str)]) -> Result<Rules, Problems> {
    let shelf = Shelf(files.iter().copied().collect());
    let maps =
        if shelf.0.contains_key("/h/ident") { Maps::load(&shelf, Path::new("/h/ident"))? } else { Maps::default() };
    Rules::load(&shelf, Path::new("/h/hba"), Arc::new(maps))
}

fn rules(text: &'static str) -> Rules {
    load(&[("/h/hba", text)]).unwrap()
}

fn problems(files: &[(&'static str, &'static str)]) -> String {
    load(files).unwrap_err().to_string()
}

const AL: Connection<'_> = Connection {
    role: "al",
    database: "shop",
    physical_replication: false,
    member_of: &[],
    origin: Origin::Tcp { remote: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3)), tls: false },
};

/// The line of the rule that decides; 0: none does.
fn decided(rules: &Rules, connection: &Connection<'_>) -> String {
    match rules.decide(connection, &Seen::default()) {
        Decision::Rule(rule) => rule.place.to_string().rsplit(':').next().unwrap().to_owned(),
        Decision::NoRule => "none".to_owned(),
        Decision::Look(look) => format!("{look:?}"),
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = rules(
        "# comment\n\
         local all all peer\n\
         hostssl all all all cert\n\
         host sameuser all all trust\n\
         host \"all\",replication bo 10.0.0.0/8 trust\n\
         host all \"+staff\" all trust\n\
         host all +staff 10.1.0.0 255.255.0.0 scram-sha-256\n\
         host /^sh.p$ /^(al|bo)$ 10.1.2.0/24 md5\n\
         host all all .example.com reject\n\
         host all all samenet reject\n",
    );
    let staff = ["al".to_owned(), "staff".to_owned()];
    let at = |address: &str, tls| Origin::Tcp { remote: address.parse().unwrap(), tls };
    for (connection, expected) in [
        (Connection { origin: Origin::Local, ..AL }, "2"),
        (Connection { origin: at("10.1.2.3", true), ..AL }, "3"),
        (Connection { database: "al", ..AL }, "4"),
        (Connection { role: "bo", database: "all", ..AL }, "5"),
        (Connection { role: "bo", physical_replication: true, ..AL }, "5"),
        (Connection { role: "+staff", ..AL }, "6"),
        (Connection { member_of: &staff, ..AL }, "7"),
        (Connection { origin: at("::ffff:10.1.9.9", false), member_of: &staff, ..AL }, "7"),
        (AL, "8"),
        (Connection { role: "xal", ..AL }, "HostName"),
        (Connection { database: "replication", role: "x", ..AL }, "HostName"),
        (Connection { role: "x", physical_replication: true, ..AL }, "none"),
    ] {
        assert_eq!(decided(&rules, &connection), expected, "{connection:?}");
    }
}

#[test]
fn what_is_looked_up_decides() {
    let rules = rules(
        "host all all Db.example.com trust\n\
         host all all .example.com reject\n\
         host all all samehost trust\n\
         host all all samenet md5\n",
    );
    let network = Interface { address: "10.1.2.9".parse().unwrap(), mask: "255.255.255.0".parse().unwrap() };
    let seen = |name: Option<&str>| Seen { interfaces: Some(vec![network]), host_name: Some(name.map(str::to_owned)) };
    let decided = |seen: &Seen, connection| match rules.decide(connection, seen) {
        Decision::Rule(rule) => rule.method.name(),
        other => panic!("{other:?}"),
    };
    assert_eq!(decided(&seen(Some("DB.EXAMPLE.COM")), &AL), "trust");
    assert_eq!(decided(&seen(Some("a.Example.com")), &AL), "reject");
    assert_eq!(decided(&seen(Some("example.com")), &AL), "md5");
    assert_eq!(decided(&seen(None), &AL), "md5");
    let own = Connection { origin: Origin::Tcp { remote: network.address, tls: false }, ..AL };
    assert_eq!(decided(&seen(None), &own), "trust");
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (line, expected) in [
        ("hosts all all all trust", "invalid connection type \"hosts\""),
        ("local,host all all trust", "multiple values specified for connection type"),
        ("local", "end-of-line before database specification"),
        ("local all", "end-of-line before role specification"),
        ("local all all", "end-of-line before authentication method"),
        ("host all all", "end-of-line before IP address specification"),
        ("host all all 10.0.0.0 trust", "invalid IP mask \"trust\": it must be written out"),
        ("host all all 10.0.0.0", "end-of-line before netmask specification"),
        ("host all all 10.0.0.0/33 trust", "invalid CIDR mask in address \"10.0.0.0/33\""),
        ("host all all ::/129 trust", "invalid CIDR mask in address \"::/129\""),
        ("host all all 10.0.0.0 ffff:: trust", "IP address and mask do not match"),
        ("host all all a.example/8 trust", "specifying both host name and CIDR mask is invalid: \"a.example/8\""),
        (
            "host all all 127.1 255.0.0.0 trust",
            "invalid IP address \"127.1\": it must be written out, as in 127.0.0.1 or ::1",
        ),
        ("local all all trusty", "invalid authentication method \"trusty\""),
        (
            "host all all all ident",
            "authentication method \"ident\" is not supported by Napgres: there are trust, reject, peer, scram-sha-256, md5 and cert",
        ),
        ("host all all all peer", "peer authentication is only supported on local sockets"),
        ("host all all all cert", "cert authentication is only supported on hostssl connections"),
        (
            "local all all trust map=x",
            "authentication option \"map\" is only valid for authentication methods peer and cert",
        ),
        ("local all all peer map", "authentication option not in name=value format: map"),
        ("local all all peer mop=x", "unrecognized authentication option name: \"mop\""),
        ("host all all all md5 clientcert=verify-ca", "clientcert can only be configured for \"hostssl\" rows"),
        ("hostssl all all all md5 clientcert=1", "invalid value for clientcert: \"1\""),
        (
            "hostssl all all all cert clientcert=verify-ca",
            "clientcert can only be set to \"verify-full\" when using \"cert\" authentication",
        ),
        ("hostssl all all all cert clientname=cn", "invalid value for clientname: \"cn\""),
        ("local all /( trust", "invalid regular expression \"(\": unclosed group"),
        (
            "local all /\\w{9999} trust",
            "invalid regular expression \"\\w{9999}\": Compiled regex exceeds size limit of 262144 bytes.",
        ),
        ("include nowhere", "could not open file \"/h/nowhere\": entity not found"),
        ("local @nowhere all trust", "could not open file \"/h/nowhere\": entity not found"),
        ("include_dir \" \"", "empty configuration directory name: \" \""),
    ] {
        let text: &'static str = format!("\n\\\n\nlocal all all trust\n{line}\n").leak();
        assert_eq!(problems(&[("/h/hba", text)]), format!("/h/hba:5: {expected}"), "{line}");
    }
    let both = problems(&[("/h/hba", "host\nlocal all all peer\nlocal all all x\n")]);
    assert_eq!(
        both,
        "/h/hba:1: end-of-line before database specification; /h/hba:3: invalid authentication method \"x\""
    );
    assert_eq!(problems(&[("/h/hba", "# nothing\n")]), "/h/hba: the file contains no entries, so nobody could connect");
    assert_eq!(problems(&[]), "/h/hba: could not open file \"/h/hba\": entity not found");
}

#[test]
fn files_bring_in_others() {
    let rules = load(&[
        ("/h/hba", "include_if_exists nowhere\ninclude_dir d\nlocal @dbs @users trust\n"),
        ("/h/d/b.conf", "include \"../more rules\"\n"),
        ("/h/d/a.conf", "local a all reject\n"),
        ("/h/d/.c.conf", "nonsense\n"),
        ("/h/d/d.text", "nonsense\n"),
        ("/h/more rules", "local b all reject\n"),
        ("/h/dbs", "x,y\nz @more # and these\n"),
        ("/h/more", "q\n"),
        ("/h/users", "bo \"all\" @no\"thing\"\n"),
        ("/h/nothing", "\n"),
    ])
    .unwrap();
    let decided = |role, database| match rules
        .decide(&Connection { role, database, origin: Origin::Local, ..AL }, &Seen::default())
    {
        Decision::Rule(rule) => rule.place.to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(decided("al", "a"), "/h/d/a.conf:1");
    assert_eq!(decided("al", "b"), "/h/more rules:1");
    for database in ["x", "y", "z", "q"] {
        assert_eq!(decided("bo", database), "/h/hba:3");
        assert_eq!(decided("all", database), "/h/hba:3");
        assert_eq!(decided("al", database), "NoRule");
    }
}

#[test]
fn includes_end() {
    let said = problems(&[("/h/hba", "local all all trust\ninclude hba\n")]);
    assert_eq!(said, "/h/hba:2: could not open file \"/h/hba\": maximum nesting depth exceeded");
    let twice = "include a\n".repeat(30).leak();
    let said = problems(&[("/h/hba", twice), ("/h/a", "include b\n".repeat(40).leak()), ("/h/b", "")]);
    assert!(said.contains("more than 1000 files are included"), "{said}");
    let large = "local all all trust\n".repeat(60_000).leak();
    let said = problems(&[("/h/hba", "include a\ninclude a\n"), ("/h/a", large)]);
    assert!(said.starts_with("/h/hba:2: could not open file \"/h/a\": file too large"), "{said}");
    assert!(problems(&[("/h/hba", "local a\0 all trust")]).contains("zero byte"));
}

#[test]
fn maps_say_which_role_a_user_may_be() {
    let files = |ident| load(&[("/h/hba", "local all all peer map=m\n"), ("/h/ident", ident)]);
    let rules = files(
        "m bo al\nother bo x\nm /^(.*)@corp$ \\1\nm /^admin_ +staff\nm eve \"all\"\nm root all\nm num /^r[0-9]+$\nm /^y \\1x\n",
    )
    .unwrap();
    let member_of = ["al".to_owned(), "staff".to_owned()];
    let check = |map, user: &str, role: &str| {
        rules.maps().check(map, user, &Connection { role, member_of: &member_of, ..AL }).map_err(|e| e.to_string())
    };
    for (user, role) in
        [("bo", "al"), ("x@corp", "x"), ("al@corp", "al"), ("admin_1", "al"), ("root", "z"), ("num", "r12")]
    {
        assert_eq!(check(Some("m"), user, role), Ok(()), "{user} as {role}");
    }
    for (user, role) in
        [("bo", "x"), ("x@corp.", "x"), ("eve", "al"), ("num", "r"), ("num", "xr"), ("nobody", "nobody")]
    {
        let said = check(Some("m"), user, role).unwrap_err();
        assert_eq!(said, format!("no match in usermap \"m\" for user \"{role}\" authenticated as \"{user}\""));
    }
    assert!(check(Some("m"), "y", "x").unwrap_err().contains("no subexpressions as requested by backreference"));
    assert_eq!(check(None, "al", "al"), Ok(()));
    assert!(check(None, "bo", "al").unwrap_err().contains("do not match"));
    for (bad, expected) in [
        ("m a", "missing entry at end of line"),
        ("m a,b c", "multiple values in ident field"),
        ("m /( c", "invalid regular expression \"(\": unclosed group"),
    ] {
        assert_eq!(files(bad).unwrap_err().to_string(), format!("/h/ident:1: {expected}"));
    }
}

#[test]
fn a_new_home_lets_its_owner_in_and_nobody_in_unproved() {
    for (owner, user, role, let_in) in [
        ("postgres", "postgres", "any", true),
        ("postgres", "root", "any", true),
        ("postgres", "al", "al", true),
        ("postgres", "al", "any", false),
        ("o\"x y", "o\"x y", "any", true),
        ("root", "root", "any", true),
    ] {
        let ident: &'static str = pg_ident(owner).leak();
        let rules = load(&[("/h/hba", PG_HBA), ("/h/ident", ident)]).unwrap();
        for physical_replication in [false, true] {
            let connection = Connection { role, physical_replication, origin: Origin::Local, ..AL };
            let Decision::Rule(rule) = rules.decide(&connection, &Seen::default()) else { panic!() };
            let Method::Peer { map } = &rule.method else { panic!() };
            assert_eq!(rules.maps().check(map.as_deref(), user, &connection).is_ok(), let_in, "{user} as {role}");
        }
        assert!(matches!(rules.decide(&AL, &Seen::default()), Decision::NoRule));
        assert_eq!(exposed(&rules), []);
    }
}

#[test]
fn rules_that_open_the_machine_to_others_are_found() {
    for line in [
        "local all all trust",
        "host all all 127.0.0.0/8 trust",
        "host all all 127.0.0.1 255.255.255.255 md5",
        "host all all ::1/128 trust",
        "host all all samehost trust",
        "hostssl all all all scram-sha-256",
        "hostssl all all all cert",
        "hostssl all all all trust clientcert=verify-full",
        "hostnossl all all all reject",
        "hostgssenc all all all trust",
    ] {
        assert_eq!(exposed(&rules(line)), [], "{line}");
    }
    for line in [
        "host all all all scram-sha-256",
        "hostnossl all all 10.0.0.0/8 md5",
        "hostnogssenc all all samenet scram-sha-256",
        "host all all example.com scram-sha-256",
        "host all all 127.0.0.0/7 scram-sha-256",
        "host all all ::1/127 scram-sha-256",
        "host all all 0.0.0.0 0.0.0.0 scram-sha-256",
        "hostssl all all all trust",
        "hostssl all all all trust clientcert=verify-ca",
    ] {
        assert_eq!(exposed(&rules(line)).len(), 1, "{line}");
    }
}

#[test]
fn a_refused_client_reads_postgresqls_words() {
    let tls = Connection { origin: Origin::Tcp { remote: "::1".parse().unwrap(), tls: true }, ..AL };
    let local = Connection { physical_replication: true, origin: Origin::Local, ..AL };
    for (refused, expected) in [
        (
            Refused::no_rule(&AL),
            "no pg_hba.conf entry for host \"10.1.2.3\", user \"al\", database \"shop\", no encryption",
        ),
        (
            Refused::no_rule(&local),
            "no pg_hba.conf entry for replication connection from host \"[local]\", user \"al\", no encryption",
        ),
        (
            Refused::rejected(&tls),
            "pg_hba.conf rejects connection for host \"::1\", user \"al\", database \"shop\", SSL encryption",
        ),
        (
            Refused::rejected(&local),
            "pg_hba.conf rejects replication connection for host \"[local]\", user \"al\", no encryption",
        ),
        (Refused::failed(&Method::Peer { map: None }, "al"), "Peer authentication failed for user \"al\""),
        (Refused::NoCertificate, "connection requires a valid client certificate"),
    ] {
        assert_eq!((refused.to_string().as_str(), refused.sqlstate()), (expected, "28000"));
    }
    let hint = Refused::NoCertificate.hint();
    assert!(hint.is_some_and(|hint| hint.contains("ssl_ca_file")), "without it clients show none");
    let wrong = Refused::failed(&Method::Md5, "al");
    assert_eq!(
        (wrong.to_string().as_str(), wrong.sqlstate()),
        ("password authentication failed for user \"al\"", "28P01")
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(hba in TEXT, ident in TEXT, name in ".{0,8}", address in any::<std::net::IpAddr>()) {
        let files = [("/h/hba", hba.as_str()), ("/h/ident", ident.as_str())];
        let shelf = Shelf(files.into_iter().collect());
        let maps = Maps::load(&shelf, Path::new("/h/ident")).unwrap_or_default();
        let Ok(rules) = Rules::load(&shelf, Path::new("/h/hba"), Arc::new(maps)) else { return Ok(()) };
        let connection = Connection { role: &name, origin: Origin::Tcp { remote: address, tls: true }, ..AL };
        rules.decide(&connection, &Seen::default());
        prop_assert_eq!(rules.maps().check(None, &name, &connection), Ok(()));
        let _ = rules.maps().check(Some("m"), &name, &connection);
    }
}

/// Pieces of rules, in any order.
const TEXT: &str = "((local|host|hostssl|m|all|@hba|/a(.)|\\\\1|include|hba|10.0.0.0/8|::1|trust|peer|cert|map=m|\"|,|#|\\\\|[ \t]|\r?\n|.) ?){0,40}";
