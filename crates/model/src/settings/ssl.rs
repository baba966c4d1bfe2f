//! Settings of TLS, spelled as PostgreSQL spells them.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A version of TLS, as PostgreSQL's `ssl_min_protocol_version` names it. Older ones are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SslProtocol {
    /// The oldest that is thought safe.
    #[serde(rename = "TLSv1.2")]
    Tls12,
    /// The newest.
    #[serde(rename = "TLSv1.3")]
    Tls13,
}

/// `true` as TOML writes it, or `"on"` as people who know PostgreSQL do.
pub(super) fn on_or_off<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be \"on\" or \"off\"")]
    enum Switch {
        Bool(bool),
        Word(String),
    }
    match Switch::deserialize(value)? {
        Switch::Bool(is_on) => Ok(is_on),
        Switch::Word(word) => match word.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => Ok(true),
            "off" | "false" | "no" => Ok(false),
            _ => Err(D::Error::custom("must be \"on\" or \"off\"")),
        },
    }
}

/// Whether a host's name could end so.
pub(super) fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::super::Settings;

    #[test]
    fn on_and_off_are_spelled_as_in_postgresql_or_in_toml() {
        for (text, is_on) in [("\"on\"", true), ("true", true), ("\"off\"", false), ("false", false), ("\"No\"", false)]
        {
            assert_eq!(Settings::parse(&format!("ssl = {text}")).unwrap().ssl, is_on, "{text}");
        }
        let error = Settings::parse("ssl = 1").unwrap_err().to_string();
        assert!(error.contains("must be \"on\" or \"off\""), "{error}");
    }

    #[test]
    fn with_tls_any_address_will_do() {
        assert!(Settings::parse("listen_addresses = [\"0.0.0.0\"]").is_ok());
        let error = Settings::parse("listen_addresses = [\"0.0.0.0\"]\nssl = false").unwrap_err().to_string();
        assert!(error.contains("0.0.0.0 is not a loopback address and ssl is off"), "{error}");
        assert!(Settings::parse("ssl = false").is_ok(), "loopback needs no TLS");
    }
}
