//! The settings of `nap.toml` and of a branch, one table for code, `nap config` and docs/settings.md.

mod fate;
mod flash;
mod list;
mod schedule;
mod spec;
mod ssl;
mod switch;

use std::num::NonZeroU16;
use std::path::PathBuf;

use serde::Deserialize;

use crate::hba::beyond_loopback;
use crate::ids::Major;
use crate::nearest::{in_parentheses, nearest};
use crate::span::Span;
pub use fate::{FATES, Fate, on_or_off};
pub use flash::Flash;
pub use schedule::Schedule;
pub use spec::{Applies, SPECS, Spec, markdown};
pub use ssl::SslProtocol;
pub use switch::Switch;

/// `nap.toml`, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// TCP port, and the number in the names of Unix sockets. Written by the first `nap up`.
    pub port: u16,
    /// Loopback addresses only, unless `ssl` is on.
    #[serde(deserialize_with = "list::addresses")]
    pub listen_addresses: Vec<String>,
    /// Where else the socket for bare `psql` is put; empty: libpq's default directory if it is writable and free.
    pub unix_socket_directory: Option<PathBuf>,
    /// Whether TCP clients can have TLS.
    #[serde(deserialize_with = "ssl::on_or_off")]
    pub ssl: bool,
    /// The certificate; none: one that the daemon makes and renews.
    pub ssl_cert_file: Option<PathBuf>,
    /// The key of that certificate.
    pub ssl_key_file: Option<PathBuf>,
    /// Whose client certificates are accepted.
    pub ssl_ca_file: Option<PathBuf>,
    /// The oldest version of TLS that is spoken.
    pub ssl_min_protocol_version: SslProtocol,
    /// Domains below which a host's name is a branch.
    #[serde(deserialize_with = "list::names")]
    pub sni_domains: Vec<String>,
    /// The user that the daemon becomes when it is started by root.
    pub run_as: String,
    /// A directory with `postgres`, `initdb` and the others.
    pub postgres_bin: Option<PathBuf>,
    /// The major for new clusters; none: the newest that is found.
    pub postgres_major: Option<u16>,
    /// The branch when nothing names one.
    pub default_branch: crate::ids::BranchName,
    /// The first role, for URLs. Written by the first `nap up`.
    pub role: Option<String>,
    /// How long after it was last used a server goes to sleep.
    pub sleep_after: Span,
    /// Whether servers go to sleep by the clock, or only when they are told to.
    pub flash: Flash,
    /// How long after it was last used a server dozes; none: after `sleep_after`, if pinned sessions keep it from sleeping.
    pub doze_after: Option<Span>,
    /// Whether idle sessions are parked, so that they do not keep a server awake.
    pub park: Switch,
    /// Whether pings of parked sessions are answered without waking a server.
    pub answer_pings: Switch,
    /// How long a server that goes to sleep may be vacuumed and analyzed.
    pub maintenance_budget: Span,
    /// When a server is woken for work, in the time zone of the machine.
    pub wake_at: Schedule,
    /// What psql runs then; none: maintenance. A relative path begins at the home.
    pub wake_sql: Option<PathBuf>,
    /// Whether enabled subscriptions and replication slots keep a server awake.
    pub replication_guard: Switch,
    /// The role whose sessions may control a branch by NOTIFY.
    pub control_role: Option<String>,
    /// How far back the past of a branch is kept; `Some(0)`: it has none.
    pub history: Span,
    /// How much of its log, in GB.
    pub history_max_gb: u32,
    /// How many servers may be awake at once.
    pub max_awake: u32,
    /// How long a client waits for its server to wake.
    pub wake_timeout: Span,
    /// How long a client may take to say who it is.
    pub authentication_timeout: Span,
    /// Client connections in all.
    pub max_connections: u32,
    /// Client connections of one branch.
    pub max_connections_per_branch: u32,
    /// Clients that may wait for servers to wake, in all.
    pub max_waiting_clients: u32,
    /// The longest startup packet.
    pub max_startup_packet_bytes: u32,
    /// How long a fast shutdown of a server may take before it becomes an immediate one.
    pub shutdown_timeout: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 0,
            listen_addresses: vec!["127.0.0.1".into(), "::1".into()],
            unix_socket_directory: None,
            ssl: true,
            ssl_cert_file: None,
            ssl_key_file: None,
            ssl_ca_file: None,
            ssl_min_protocol_version: SslProtocol::Tls12,
            sni_domains: vec!["localhost".into()],
            run_as: "postgres".into(),
            postgres_bin: None,
            postgres_major: None,
            default_branch: crate::ids::BranchName::main(),
            role: None,
            sleep_after: Span::seconds(30),
            flash: Flash::Auto,
            doze_after: None,
            park: Switch(true),
            answer_pings: Switch(true),
            maintenance_budget: Span::seconds(10),
            wake_at: Schedule::NEVER,
            wake_sql: None,
            replication_guard: Switch(true),
            control_role: None,
            history: Span::seconds(7 * 24 * 60 * 60),
            history_max_gb: 10,
            max_awake: 50,
            wake_timeout: Span::seconds(60),
            authentication_timeout: Span::seconds(60),
            max_connections: 1_000,
            max_connections_per_branch: 500,
            max_waiting_clients: 500,
            max_startup_packet_bytes: 10_000,
            shutdown_timeout: Span::seconds(60),
        }
    }
}

/// The `[settings]` of a `branch.toml`: what a branch does otherwise than its home.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BranchSettings {
    /// A TCP port of its own: what comes in there is for this branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<NonZeroU16>,
    /// In place of the home's `sleep_after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sleep_after: Option<Span>,
    /// In place of the home's `flash`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flash: Option<Flash>,
    /// In place of the home's `doze_after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doze_after: Option<Span>,
    /// In place of the home's `park`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub park: Option<Switch>,
    /// In place of the home's `answer_pings`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_pings: Option<Switch>,
    /// In place of the home's `maintenance_budget`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance_budget: Option<Span>,
    /// In place of the home's `wake_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Schedule>,
    /// In place of the home's `wake_sql`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_sql: Option<PathBuf>,
    /// In place of the home's `replication_guard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_guard: Option<Switch>,
    /// In place of the home's `control_role`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_role: Option<String>,
    /// In place of the home's `history`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Span>,
    /// In place of the home's `history_max_gb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_max_gb: Option<u32>,
}

/// What is wrong with a settings text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    /// A name that no setting has.
    #[error("there is no setting \"{name}\"{}", in_parentheses(.nearest))]
    Unknown {
        /// As it was written.
        name: String,
        /// The known names that look like it.
        nearest: Vec<&'static str>,
    },
    /// Not TOML, or a value of another type, or a value out of its range.
    #[error("{0}")]
    Value(String),
}

impl Settings {
    /// Reads the text of a `nap.toml`.
    pub fn parse(text: &str) -> Result<Self, BadSettings> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| BadSettings::Value(e.to_string()))?;
        for name in table.keys() {
            known(name)?;
        }
        let settings: Self = toml::from_str(text).map_err(|e| BadSettings::Value(e.to_string()))?;
        settings.check()?;
        Ok(settings)
    }

    /// The major for new clusters.
    pub fn major(&self) -> Option<Major> {
        self.postgres_major.map(Major)
    }

    /// Whether they go together. Where sockets are inherited, their addresses stand in listen_addresses.
    pub fn check(&self) -> Result<(), BadSettings> {
        let wrong = |text: String| Err(BadSettings::Value(text));
        if self.listen_addresses.is_empty() {
            return wrong(
                "listen_addresses: at least one address is needed, such as \"127.0.0.1\"; sockets alone will not do"
                    .into(),
            );
        }
        for address in &self.listen_addresses {
            if !self.ssl && beyond_loopback(std::slice::from_ref(address)) {
                return wrong(format!(
                    "listen_addresses: {address} is not a loopback address and ssl is off, so that everybody on the way \
                     could read what is said; set ssl = \"on\""
                ));
            }
        }
        if let Some(domain) = self.sni_domains.iter().find(|domain| !ssl::is_domain(domain)) {
            return wrong(format!("sni_domains: \"{domain}\" is not the name of a domain, such as \"localhost\""));
        }
        if self.port == u16::MAX {
            return wrong("port: at most 65534, because the next one is the read-only door".into());
        }
        if let Some(major) = self.major().filter(|major| *major < Major::OLDEST) {
            return wrong(format!(
                "postgres_major: {major} is older than {}, the oldest that Napgres runs",
                Major::OLDEST
            ));
        }
        let counts = [
            ("history_max_gb", self.history_max_gb, 1, 1_000_000),
            ("max_awake", self.max_awake, 1, 100_000),
            ("max_connections", self.max_connections, 1, 1_000_000),
            ("max_connections_per_branch", self.max_connections_per_branch, 1, 1_000_000),
            ("max_waiting_clients", self.max_waiting_clients, 1, 1_000_000),
            ("max_startup_packet_bytes", self.max_startup_packet_bytes, 100, 1_000_000),
        ];
        for (name, value, least, most) in counts {
            if !(least..=most).contains(&value) {
                return wrong(format!("{name}: {value} is outside {least} to {most}"));
            }
        }
        if self.maintenance_budget.0.is_none() {
            return wrong("maintenance_budget: must end some time: `never` is not allowed, \"0s\" turns it off".into());
        }
        for (name, span) in [
            ("wake_timeout", self.wake_timeout),
            ("authentication_timeout", self.authentication_timeout),
            ("shutdown_timeout", self.shutdown_timeout),
        ] {
            if span.0.is_none_or(|span| span.is_zero()) {
                return wrong(format!("{name}: must end some time: {span} is not allowed"));
            }
        }
        Ok(())
    }
}

/// The spec of a setting's name, or the nearest names.
pub fn known(name: &str) -> Result<&'static Spec, BadSettings> {
    SPECS.iter().find(|spec| spec.name == name).ok_or_else(|| BadSettings::Unknown {
        name: name.chars().take(64).collect(),
        nearest: nearest(name, SPECS.iter().map(|spec| spec.name)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert_eq!(Settings::parse("").unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest() {
        let error = Settings::parse("sleep_afer = \"5s\"").unwrap_err();
        assert_eq!(error.to_string(), "there is no setting \"sleep_afer\" (did you mean sleep_after?)");
    }

    #[test]
    fn values_outside_their_range_are_refused() {
        for bad in [
            "port = 65535",
            "port = \"x\"",
            "listen_addresses = [\"0.0.0.0\"]\nssl = \"off\"",
            "ssl = \"perhaps\"",
            "ssl_min_protocol_version = \"TLSv1.1\"",
            "sni_domains = [\".localhost\"]",
            "sni_domains = [\"\"]",
            "listen_addresses = []",
            "wake_timeout = \"never\"",
            "maintenance_budget = \"never\"",
            "authentication_timeout = \"0s\"",
            "max_awake = 0",
            "postgres_major = 13",
            "sleep_after = \"soon\"",
            "sleep_after = 30",
            "doze_after = \"\"",
            "flash = \"off\"",
            "wake_at = \"3:30\"",
            "default_branch = \"A\"",
            "port = ",
        ] {
            assert!(matches!(Settings::parse(bad), Err(BadSettings::Value(_))), "{bad}");
        }
        assert_eq!(Settings::parse("sleep_after = \"never\"").unwrap().sleep_after, Span(None));
    }

    #[test]
    fn the_table_names_every_setting_with_its_default() {
        let fields: Settings = toml::from_str("").unwrap();
        let debug = format!("{fields:#?}");
        let names: Vec<&str> = debug
            .lines()
            .filter_map(|l| l.strip_prefix("    ")?.split_once(": ").map(|(n, _)| n))
            .filter(|n| !n.starts_with(' '))
            .collect();
        let specs: Vec<&str> = SPECS.iter().map(|spec| spec.name).collect();
        assert_eq!(names, specs, "Settings and SPECS list the same settings in the same order");
        for spec in SPECS.iter().filter(|spec| !spec.default.is_empty()) {
            let text = format!("{} = {}", spec.name, spec.default);
            assert_eq!(Settings::parse(&text).unwrap(), Settings::default(), "{text}");
        }
    }
}
