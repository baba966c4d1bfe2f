//! Settings with more than one value: a list, or one string as PostgreSQL writes them.

use serde::{Deserialize, Deserializer};

/// Names, as TOML lists them, or as PostgreSQL does: in one string, with commas between them.
pub(super) fn names<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a list, such as [\"a\", \"b\"], or \"a, b\"")]
    enum Names {
        List(Vec<String>),
        Line(String),
    }
    Ok(match Names::deserialize(value)? {
        Names::List(names) => names,
        Names::Line(line) => {
            line.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
        }
    })
}

/// The same for addresses, where PostgreSQL writes `*` for all that this machine has.
pub(super) fn addresses<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    let every = |name: String| if name == "*" { vec!["0.0.0.0".to_owned(), "::".to_owned()] } else { vec![name] };
    Ok(names(value)?.into_iter().flat_map(every).collect())
}

#[cfg(test)]
mod tests {
    use super::super::Settings;

    #[test]
    fn addresses_are_written_as_in_postgresql_or_in_toml() {
        let read = |text: &str| Settings::parse(&format!("listen_addresses = {text}")).unwrap().listen_addresses;
        assert_eq!(read("\"127.0.0.1\""), ["127.0.0.1"]);
        assert_eq!(read("\"localhost, 10.0.0.1\""), read("[\"localhost\", \"10.0.0.1\"]"));
        assert_eq!(read("\"*\""), ["0.0.0.0", "::"]);
        assert_eq!(Settings::parse("sni_domains = \"localhost,example.org\"").unwrap().sni_domains.len(), 2);
        for bad in ["listen_addresses = \"\"", "listen_addresses = 5", "listen_addresses = \"*\"\nssl = \"off\""] {
            assert!(Settings::parse(bad).is_err(), "{bad}");
        }
    }
}
