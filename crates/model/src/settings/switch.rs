//! Settings that are on or off, written as PostgreSQL's are, or as TOML's own `true` and `false`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl<'de> Deserialize<'de> for Switch {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        super::ssl::on_or_off(value).map(Switch)
    }
}

impl Serialize for Switch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "on" } else { "off" })
    }
}
