//! pg_hba.conf and pg_ident.conf: whatever stands in them, they are read to an end, and the same rules come of it each time.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use nap_model::hba::{Connection, Decision, Files, Maps, Origin, Rules, Seen};

/// Expressions are compiled, to 256 kB each; every other line becomes a rule of some hundred bytes, or a problem in words.
pub(crate) const TARGET: crate::Target = crate::Target { name: "hba", check, parse, allocates: (4 << 20, 8192) };

/// The files `hba`, `ident`, `a` and `b`, one after the other, each ended by a NUL.
struct Shelf<'a>(Vec<&'a [u8]>);

const NAMES: [&str; 4] = ["hba", "ident", "a", "b"];

impl Files for Shelf<'_> {
    fn read(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        let number = NAMES.iter().position(|name| path == Path::new("/h").join(name));
        let text = number.and_then(|number| self.0.get(number)).ok_or(io::ErrorKind::NotFound)?;
        if text.len() > max_bytes { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text.to_vec()) }
    }

    fn names(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(NAMES[2..].iter().map(|name| (*name).to_owned()).collect())
    }
}

fn load(data: &[u8]) -> Result<Rules, String> {
    let shelf = Shelf(data.split(|byte| *byte == 0).collect());
    let maps = Maps::load(&shelf, Path::new("/h/ident")).unwrap_or_default();
    Rules::load(&shelf, Path::new("/h/hba"), Arc::new(maps)).map_err(|problems| problems.to_string())
}

fn parse(data: &[u8]) {
    let _ = load(data);
}

fn check(data: &[u8]) {
    let loaded = load(data);
    let again = load(data);
    assert_eq!(format!("{loaded:?}"), format!("{again:?}"));
    let rules = match loaded {
        Ok(rules) => rules,
        Err(problems) => return assert!(!problems.is_empty()),
    };
    assert!(rules.iter().count() > 0, "rules that let nobody in are refused");
    for (address, tls) in
        [(IpAddr::V4(Ipv4Addr::LOCALHOST), false), (IpAddr::V6(Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped()), true)]
    {
        let connection = Connection {
            role: "al",
            database: "shop",
            physical_replication: false,
            member_of: &[],
            origin: Origin::Tcp { remote: address, tls },
        };
        if let Decision::Rule(rule) = rules.decide(&connection, &Seen::default()) {
            assert!(rules.iter().any(|known| known.place == rule.place), "a rule of the file");
        }
    }
}
