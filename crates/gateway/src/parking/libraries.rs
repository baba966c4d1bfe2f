//! Which libraries a backend has loaded. One that keeps something to itself (an open connection, a Perl interpreter's
//! variables) cannot be parked, and which do is not to be seen from outside: those that are known not to are listed.

use std::collections::BTreeSet;

/// Libraries of PostgreSQL and of well-known extensions that keep nothing of a session's but caches.
const STATELESS: [&str; 42] = [
    "plpgsql",
    "llvmjit",
    "llvmjit_types",
    "dict_snowball",
    "pgoutput",
    "libpqwalreceiver",
    "amcheck",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "fuzzystrmatch",
    "hstore",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_trgm",
    "pg_visibility",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "seg",
    "spi",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "vector",
    "xml2",
    "autoinc",
    "moddatetime",
    "refint",
    "postgis-3",
];

/// The libraries that a process has mapped, but for those of the system itself and the stateless ones.
pub(super) fn loaded(pid: i32) -> std::io::Result<BTreeSet<String>> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    Ok(maps.lines().filter_map(library).filter(|path| !is_harmless(path)).map(str::to_owned).collect())
}

fn library(line: &str) -> Option<&str> {
    let path = line.get(line.find('/')?..)?;
    // A library that an upgrade has replaced is mapped all the same.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    path.ends_with(".so").then_some(path)
}

fn is_harmless(path: &str) -> bool {
    let Some((directory, file)) = path.rsplit_once('/') else { return false };
    let name = file.strip_suffix(".so").unwrap_or(file);
    // Conversions between encodings: utf8_and_win and its like.
    STATELESS.contains(&name) || name.contains("_and_") || name == "euc2004_sjis2004" || is_of_the_system(directory)
}

/// `/usr/lib/x86_64-linux-gnu` and its like, where PostgreSQL has nothing of its own directly.
fn is_of_the_system(directory: &str) -> bool {
    let below_usr = directory.strip_prefix("/usr").unwrap_or(directory);
    match below_usr.strip_prefix("/lib64").or_else(|| below_usr.strip_prefix("/lib")) {
        Some("") => true,
        Some(rest) => rest.strip_prefix('/').is_some_and(|triplet| triplet.ends_with("-gnu") && !triplet.contains('/')),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_keep_something_is_told_from_what_does_not() {
        for harmless in [
            "/usr/lib/postgresql/15/lib/plpgsql.so",
            "/usr/lib/postgresql/15/lib/utf8_and_win.so",
            "/usr/lib/x86_64-linux-gnu/libsomething.so",
            "/lib64/libm.so",
        ] {
            assert!(is_harmless(harmless), "{harmless}");
        }
        for other in ["/usr/lib/postgresql/15/lib/plperl.so", "/usr/lib64/pgsql/dblink.so", "/home/a/lib/x.so"] {
            assert!(!is_harmless(other), "{other}");
        }
    }

    #[test]
    fn lines_of_maps_are_read() {
        let line = "7f1c0000-7f1c1000 r-xp 00000000 08:01 123    /usr/lib/postgresql/15/lib/plperl.so (deleted)";
        assert_eq!(library(line), Some("/usr/lib/postgresql/15/lib/plperl.so"));
        assert_eq!(library("7f1c0000-7f1c1000 rw-p 00000000 00:00 0    [heap]"), None);
        assert!(loaded(std::process::id() as i32).is_ok());
    }
}
