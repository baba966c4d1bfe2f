//! What keeps a server from sleeping: one predicate that returns its reasons.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a look into a running server found. Sessions of the gateway are not counted here: they hold leases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Observation {
    /// Client backends that are neither the gateway's nor our own: somebody came in through the private socket,
    /// or an earlier daemon's session still executes.
    pub other_client_backends: u32,
    /// WAL senders for standbys or tools.
    pub wal_senders: u32,
    /// Base backups under way.
    pub base_backups: u32,
    /// VACUUM, ANALYZE, CLUSTER, CREATE INDEX and their like that run now, by hand or by autovacuum.
    pub maintenance: u32,
    /// Workers of subscriptions that are enabled: changes would pile up at their publisher.
    pub subscriptions: u32,
    /// Replication slots that nobody uses now: whoever comes for them may expect a server that is there.
    pub replication_slots: u32,
}

/// A reason why a server may not sleep now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "guard", content = "count", rename_all = "kebab-case")]
pub enum Guard {
    /// Sessions of the gateway that do something, or are not to be parked.
    Sessions(u32),
    /// Idle sessions of the gateway that cannot be parked.
    Pinned(u32),
    /// Clients that did not come through the gateway.
    OtherClients(u32),
    /// WAL senders.
    WalSenders(u32),
    /// Base backups.
    BaseBackups(u32),
    /// VACUUM and its like.
    Maintenance(u32),
    /// Enabled subscriptions.
    Subscriptions(u32),
    /// Replication slots that nobody uses now.
    ReplicationSlots(u32),
    /// `sleep_after = "never"`.
    NeverSleeps,
    /// `flash = "manual"`.
    SleepsWhenTold,
}

/// The gateway's sessions that keep a server awake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holding {
    /// They do something, or are not to be parked.
    pub active: u32,
    /// They are idle, and something of theirs would be lost.
    pub pinned: u32,
}

/// Everything that stands in the way of sleep; empty means that the server may sleep.
/// `settings` is the guard that its settings put up, heeded only when it would sleep of itself (`of_itself`), not when it
/// is told to.
pub fn guards(sessions: Holding, settings: Option<Guard>, of_itself: bool, seen: &Observation) -> Vec<Guard> {
    let counted = [
        (sessions.active, Guard::Sessions(sessions.active)),
        (sessions.pinned, Guard::Pinned(sessions.pinned)),
        (seen.other_client_backends, Guard::OtherClients(seen.other_client_backends)),
        (seen.wal_senders, Guard::WalSenders(seen.wal_senders)),
        (seen.base_backups, Guard::BaseBackups(seen.base_backups)),
        (seen.maintenance, Guard::Maintenance(seen.maintenance)),
        (seen.subscriptions, Guard::Subscriptions(seen.subscriptions)),
        (seen.replication_slots, Guard::ReplicationSlots(seen.replication_slots)),
    ];
    let mut standing: Vec<Guard> =
        counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, guard)| guard).collect();
    standing.extend(settings.filter(|_| of_itself));
    standing
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, one, many) = match self {
            Guard::Sessions(n) => (*n, "session", "sessions"),
            Guard::Pinned(n) => (*n, "pinned session", "pinned sessions"),
            Guard::OtherClients(n) => (*n, "client past the gateway", "clients past the gateway"),
            Guard::WalSenders(n) => (*n, "WAL sender", "WAL senders"),
            Guard::BaseBackups(n) => (*n, "base backup", "base backups"),
            Guard::Maintenance(n) => (*n, "maintenance command", "maintenance commands"),
            Guard::Subscriptions(n) => (*n, "enabled subscription", "enabled subscriptions"),
            Guard::ReplicationSlots(n) => (*n, "replication slot", "replication slots"),
            Guard::NeverSleeps => return f.write_str("sleep_after = never"),
            Guard::SleepsWhenTold => return f.write_str("flash = manual"),
        };
        write!(f, "{count} {}", if count == 1 { one } else { many })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_seen_means_it_may_sleep() {
        assert!(guards(Holding::default(), None, true, &Observation::default()).is_empty());
        assert!(
            guards(Holding::default(), Some(Guard::NeverSleeps), false, &Observation::default()).is_empty(),
            "told to sleep, it sleeps"
        );
    }

    #[test]
    fn every_reason_is_named() {
        let seen = Observation {
            other_client_backends: 1,
            wal_senders: 2,
            base_backups: 1,
            maintenance: 3,
            subscriptions: 1,
            replication_slots: 2,
        };
        let named: Vec<String> = guards(Holding { active: 2, pinned: 1 }, Some(Guard::NeverSleeps), true, &seen)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            named,
            [
                "2 sessions",
                "1 pinned session",
                "1 client past the gateway",
                "2 WAL senders",
                "1 base backup",
                "3 maintenance commands",
                "1 enabled subscription",
                "2 replication slots",
                "sleep_after = never"
            ]
        );
    }
}
