//! Which settings belong to whoever runs a server: its places, its clients, its logs, and what it does for others.

/// Settings of that kind, sorted.
const OURS: &[&str] = &[
    "archive_cleanup_command",
    "archive_command",
    "archive_library",
    "archive_mode",
    "archive_timeout",
    "bonjour",
    "bonjour_name",
    "cluster_name",
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "krb_server_keyfile",
    "listen_addresses",
    "log_destination",
    "log_directory",
    "log_filename",
    "logging_collector",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "restore_command",
    "ssl",
    "standby_mode",
    "stats_temp_directory",
    "sync_replication_slots",
    "synchronized_standby_slots",
    "synchronous_standby_names",
    "trigger_file",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
];

/// And those that begin so.
const PREFIXES: [&str; 2] = ["ssl_", "recovery_"];

/// Whether a setting of this name, in lower case, is turned off.
pub fn is_ours(name: &str) -> bool {
    OURS.binary_search(&name).is_ok() || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_sorted() {
        assert!(OURS.is_sorted());
        assert!(is_ours("port") && is_ours("ssl_cert_file") && is_ours("recovery_target_time"));
        assert!(!is_ours("work_mem") && !is_ours("shared_preload_libraries"));
    }
}
