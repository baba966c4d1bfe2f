//! The table of settings: what `nap config` prints, what docs/settings.md shows, what a slip is compared with.

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    /// At once, by `nap config set` or `nap config reload`.
    Reload,
    /// When the daemon starts next.
    Restart,
    /// Only to clusters made afterwards.
    NewBranches,
}

impl Applies {
    /// In words, for tables.
    pub fn words(self) -> &'static str {
        match self {
            Applies::Reload => "at once",
            Applies::Restart => "at the next `nap up`",
            Applies::NewBranches => "to new branches",
        }
    }
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// The key in `nap.toml`.
    pub name: &'static str,
    /// Its default as TOML; empty: none, or found out at the first start.
    pub default: &'static str,
    /// When a change takes effect.
    pub applies: Applies,
    /// May also stand in a branch's own settings (`nap set`).
    pub per_branch: bool,
    /// One line for people.
    pub meaning: &'static str,
}

const fn spec(name: &'static str, default: &'static str, applies: Applies, meaning: &'static str) -> Spec {
    Spec { name, default, applies, per_branch: false, meaning }
}

/// All settings, in the order of the file.
pub const SPECS: &[Spec] = {
    use Applies::{NewBranches, Reload, Restart};
    &[
        Spec {
            per_branch: true,
            ..spec(
                "port",
                "",
                Restart,
                "TCP port and the number in socket names; the first start chooses a free one and writes it here. The next port is kept for reads from standbys, which are not there yet. A branch's own port leads to that branch, at once",
            )
        },
        spec(
            "listen_addresses",
            "[\"127.0.0.1\", \"::1\"]",
            Restart,
            "addresses to listen on, also as `10.0.0.1, ::1`, or `*` for all; with `ssl` off only loopback",
        ),
        spec(
            "unix_socket_directory",
            "",
            Restart,
            "where else to put a socket for clients; none: libpq's default directory, if writable and free",
        ),
        spec("ssl", "\"on\"", Reload, "whether TCP clients can have TLS"),
        spec(
            "ssl_cert_file",
            "",
            Reload,
            "the certificate, and what leads to its root, as PEM; none: Napgres makes one in `tls/` and renews it. Not Ed25519",
        ),
        spec("ssl_key_file", "", Reload, "the key of that certificate; nobody else may read it (0600)"),
        spec("ssl_ca_file", "", Reload, "the roots of client certificates; none: clients are not asked for one"),
        spec("ssl_min_protocol_version", "\"TLSv1.2\"", Reload, "the oldest version of TLS: `TLSv1.2` or `TLSv1.3`"),
        spec(
            "sni_domains",
            "[\"localhost\"]",
            Reload,
            "domains below which a host's name is a branch: `dev.localhost` is `dev`, over TLS. Of more than 200 branches, \
             the certificate that Napgres makes names all only below a domain with a dot in it: `nap.localhost`",
        ),
        spec("run_as", "\"postgres\"", Restart, "the user that the daemon becomes when root starts it"),
        spec(
            "postgres_bin",
            "",
            Restart,
            "a directory with `postgres`, `initdb` and the rest, looked at before all others",
        ),
        spec("postgres_major", "", NewBranches, "the PostgreSQL major of new clusters; none: the newest found"),
        spec("default_branch", "\"main\"", Reload, "the branch when a client names none"),
        spec("role", "", Reload, "the role in the URLs that `nap url` prints; the first start writes it here"),
        Spec {
            per_branch: true,
            ..spec(
                "sleep_after",
                "\"30s\"",
                Reload,
                "how long after it was last used a server goes to sleep; `never` keeps it awake",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "flash",
                "\"auto\"",
                Reload,
                "what puts a server to sleep; `auto`: the clock, after `sleep_after`; `manual`: `nap sleep`, or a session's `SET nap.keep_awake = off`, once all are idle",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "doze_after",
                "",
                Reload,
                "how long after it was last used a server dozes: its processes are stopped, memory and sessions stay. None: \
                 after `sleep_after`, if pinned sessions keep it from sleeping; `never`: then they keep it awake",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "park",
                "\"on\"",
                Reload,
                "whether sessions that do nothing are parked, so that they keep no server awake; off: a server sleeps after its last session has gone",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "answer_pings",
                "\"on\"",
                Reload,
                "whether an empty query and `SELECT 1` of a parked session are answered without waking its server",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "maintenance_budget",
                "\"10s\"",
                Reload,
                "how long a server that goes to sleep may spend on what autovacuum would have done: VACUUM and ANALYZE of the tables that are due. A client that comes meanwhile ends it; `0s` turns it off",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "wake_at",
                "\"never\"",
                Reload,
                "when a server is woken for work, in cron's syntax and the machine's time zone: `30 3 * * *` is every night at half past three. It sleeps again as usual",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "wake_sql",
                "",
                Reload,
                "the SQL file that psql runs at `wake_at`, as a superuser in the database `postgres` (`\\c` leads to others), up to the first error; what it says is in the branch's `log/wake_sql.log`. A relative path begins at the home. None: VACUUM and ANALYZE of the tables that are due, as before sleep, but for up to an hour",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "replication_guard",
                "\"on\"",
                Reload,
                "whether an enabled subscription, or a replication slot that nobody uses just now, keeps a server awake; off: it sleeps, and catches up when it wakes, at `wake_at` for instance",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "control_role",
                "",
                Reload,
                "the role whose sessions, those that log in from now on, may control a branch by `NOTIFY nap, 'sleep'` and `NOTIFY nap, 'reload config'`; none: nobody may",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "history",
                "\"7d\"",
                Reload,
                "how far back a branch's past is kept, where the file system can clone: its log, and a snapshot of each sleep that wrote something. `never` keeps it for ever, `0s` turns it off, from the server's next start on",
            )
        },
        Spec {
            per_branch: true,
            ..spec(
                "history_max_gb",
                "10",
                Reload,
                "how much of a branch's log is kept that its server itself does not need any more, in GB; beyond that its past begins later. So it does, its snapshots with a name excepted, where less than 5 % of a file system's inodes are free: each file of a snapshot is one (XFS; btrfs has no bound of them)",
            )
        },
        spec(
            "max_awake",
            "50",
            Reload,
            "servers awake at once; past that the longest idle one sleeps first and wakes queue",
        ),
        spec("wake_timeout", "\"60s\"", Reload, "how long a client waits for its server to wake"),
        spec(
            "authentication_timeout",
            "\"60s\"",
            Reload,
            "how long a client may take from connecting to having proved who it is",
        ),
        spec("max_connections", "1000", Reload, "client connections in all"),
        spec("max_connections_per_branch", "500", Reload, "client connections of one branch"),
        spec("max_waiting_clients", "500", Reload, "clients that wait for a server to wake, in all"),
        spec("max_startup_packet_bytes", "10000", Reload, "the longest startup packet (PostgreSQL's own bound)"),
        spec(
            "shutdown_timeout",
            "\"60s\"",
            Reload,
            "how long a server's fast shutdown may take before it becomes an immediate one",
        ),
    ]
};

/// The table as Markdown, for docs/settings.md.
pub fn markdown() -> String {
    let mut text = String::from("| setting | default | takes effect | meaning |\n|---|---|---|---|\n");
    for spec in SPECS {
        let default = if spec.default.is_empty() { String::new() } else { format!("`{}`", spec.default) };
        let per_branch = if spec.per_branch { " (also per branch: `nap set`)" } else { "" };
        text.push_str(&format!(
            "| `{}` | {default} | {} | {}{per_branch} |\n",
            spec.name,
            spec.applies.words(),
            spec.meaning
        ));
    }
    text
}
