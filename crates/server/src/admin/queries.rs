//! What is asked, with every name qualified: a search_path of ill will must change nothing.

/// Whose connection it is, in pg_stat_activity.
pub(super) const APPLICATION_NAME: &str = "nap";

/// A secret longer than PostgreSQL itself allows since 17 (`MAX_ENCRYPTED_PASSWORD_LEN`) counts as none: a role can store
/// megabytes of salt, which every login would be sent before it has proved anything.
/// VALID UNTIL in microseconds since 1970; `infinity` is none at all, `-infinity` long ago.
macro_rules! role_columns {
    () => {
        "r.rolname::pg_catalog.text, r.rolcanlogin, \
         CASE WHEN pg_catalog.octet_length(r.rolpassword) <= 512 THEN r.rolpassword END, \
         CASE WHEN r.rolvaliduntil = 'infinity' THEN NULL WHEN r.rolvaliduntil = '-infinity' THEN 0 \
              ELSE pg_catalog.floor(EXTRACT(EPOCH FROM r.rolvaliduntil) * 1000000)::pg_catalog.int8 END, \
         CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END, r.rolsuper"
    };
}

/// One row always: columns of the role (or nulls), columns of the database (or nulls), what the role is a member of.
pub(super) const FACTS: &str = concat!(
    "WITH RECURSIVE belongs(oid) AS ( \
         SELECT oid FROM pg_catalog.pg_authid WHERE rolname = $1::pg_catalog.text::pg_catalog.name \
         UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN belongs ON m.member = belongs.oid) \
     SELECT ",
    role_columns!(),
    ", d.datname::pg_catalog.text, d.datallowconn, d.datconnlimit, \
     ARRAY(SELECT g.rolname::pg_catalog.text FROM belongs JOIN pg_catalog.pg_authid g ON g.oid = belongs.oid \
           ORDER BY g.rolname <> $1::pg_catalog.text::pg_catalog.name, 1) \
     FROM (SELECT 1) AS one \
     LEFT JOIN pg_catalog.pg_authid r ON r.rolname = $1::pg_catalog.text::pg_catalog.name \
     LEFT JOIN pg_catalog.pg_database d ON d.datname = $2::pg_catalog.text::pg_catalog.name"
);

pub(super) const ROLES: &str = concat!("SELECT ", role_columns!(), " FROM pg_catalog.pg_authid r ORDER BY 1");

pub(super) const MEMBERSHIPS: &str = "SELECT DISTINCT m.rolname::pg_catalog.text, g.rolname::pg_catalog.text \
     FROM pg_catalog.pg_auth_members JOIN pg_catalog.pg_authid m ON m.oid = member \
     JOIN pg_catalog.pg_authid g ON g.oid = roleid ORDER BY 1, 2";

pub(super) const DATABASES: &str =
    "SELECT datname::pg_catalog.text, datallowconn, datconnlimit FROM pg_catalog.pg_database ORDER BY 1";

/// The bootstrap superuser has oid 10, whatever its name.
pub(super) const SUPERUSERS: &str = "SELECT rolname::pg_catalog.text FROM pg_catalog.pg_authid \
     WHERE rolsuper AND rolcanlogin ORDER BY oid <> 10, oid LIMIT 10";

/// The daemon's own backends.
pub(super) const OWN: &str = "SELECT pid FROM pg_catalog.pg_stat_activity WHERE application_name = 'nap'";

pub(super) const ENABLED_SUBSCRIPTIONS: &str = "SELECT count(*) FROM pg_catalog.pg_subscription WHERE subenabled";

/// All, and those that are enabled.
pub(super) const SUBSCRIPTIONS: &str =
    "SELECT count(*), count(*) FILTER (WHERE subenabled) FROM pg_catalog.pg_subscription";

pub(super) const PREPARED_TRANSACTIONS: &str = "SELECT gid FROM pg_catalog.pg_prepared_xacts ORDER BY 1 LIMIT 100";

/// In recovery nothing is inserted.
pub(super) const POSITION: &str = "SELECT (CASE WHEN pg_catalog.pg_is_in_recovery() \
         THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_insert_lsn() END)::pg_catalog.text, \
     (SELECT system_identifier FROM pg_catalog.pg_control_system())::pg_catalog.text";

/// With archiving, a shutdown would switch to a new segment and so move the shutdown checkpoint; done now, there is
/// nothing left to switch.
pub(super) const SWITCH_WAL_IF_ARCHIVED: &str = "SELECT pg_catalog.pg_switch_wal() \
     WHERE pg_catalog.current_setting('archive_mode') <> 'off'";

/// What was written to each database that lets somebody in, those with the most first. Nothing if autovacuum is off (then
/// its owner wants none), and in recovery.
pub(super) const WRITTEN: &str = "SELECT d.datname::pg_catalog.text, \
         coalesce(s.tup_inserted + s.tup_updated + s.tup_deleted, 0) + pg_catalog.age(d.datfrozenxid) / 1000000 \
     FROM pg_catalog.pg_database d LEFT JOIN pg_catalog.pg_stat_database s ON s.datid = d.oid \
     WHERE d.datallowconn AND pg_catalog.current_setting('autovacuum')::pg_catalog.bool \
         AND pg_catalog.current_setting('track_counts')::pg_catalog.bool AND NOT pg_catalog.pg_is_in_recovery() \
     ORDER BY 2 DESC";

/// The tables that autovacuum would take up (autovacuum.c, `relation_needs_vacanalyze`), those that are the oldest first;
/// freezing begins at the age at which a VACUUM would look at every page, long before it is forced.
pub(super) const DUE: &str = "WITH tables AS ( \
         SELECT c.oid, c.relkind, greatest(c.reltuples, 0) AS tuples, age(c.relfrozenxid) AS age, \
             format('%I.%I', n.nspname, c.relname) AS name, \
             coalesce((SELECT jsonb_object_agg(option_name, option_value) FROM pg_options_to_table(c.reloptions)), '{}') AS options \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'), \
     limits AS ( \
         SELECT t.*, s.n_dead_tup AS dead, s.n_ins_since_vacuum AS inserted, s.n_mod_since_analyze AS changed, \
             coalesce(options->>'autovacuum_vacuum_threshold', current_setting('autovacuum_vacuum_threshold'))::float8 AS vacuum_base, \
             coalesce(options->>'autovacuum_vacuum_scale_factor', current_setting('autovacuum_vacuum_scale_factor'))::float8 AS vacuum_scale, \
             coalesce(options->>'autovacuum_vacuum_max_threshold', current_setting('autovacuum_vacuum_max_threshold', true), '-1')::float8 AS vacuum_most, \
             coalesce(options->>'autovacuum_vacuum_insert_threshold', current_setting('autovacuum_vacuum_insert_threshold'))::float8 AS insert_base, \
             coalesce(options->>'autovacuum_vacuum_insert_scale_factor', current_setting('autovacuum_vacuum_insert_scale_factor'))::float8 AS insert_scale, \
             coalesce(options->>'autovacuum_analyze_threshold', current_setting('autovacuum_analyze_threshold'))::float8 AS analyze_base, \
             coalesce(options->>'autovacuum_analyze_scale_factor', current_setting('autovacuum_analyze_scale_factor'))::float8 AS analyze_scale, \
             least(coalesce(options->>'autovacuum_freeze_table_age', current_setting('vacuum_freeze_table_age'))::float8, \
                 coalesce(options->>'autovacuum_freeze_max_age', current_setting('autovacuum_freeze_max_age'))::float8) AS freeze_age \
         FROM tables t JOIN pg_stat_all_tables s ON s.relid = t.oid \
         WHERE coalesce(options->>'autovacuum_enabled', 'true')::bool), \
     due AS ( \
         SELECT name, age, age > freeze_age AS to_freeze, \
             age > freeze_age OR dead > CASE WHEN vacuum_most >= 0 THEN least(vacuum_most, vacuum_base + vacuum_scale * tuples) ELSE vacuum_base + vacuum_scale * tuples END \
                 OR (insert_base >= 0 AND inserted > insert_base + insert_scale * tuples) AS to_vacuum, \
             changed > analyze_base + analyze_scale * tuples AND name <> 'pg_catalog.pg_statistic' AS to_analyze \
         FROM limits) \
     SELECT name, to_vacuum, to_analyze, to_freeze FROM due WHERE to_vacuum OR to_analyze ORDER BY age DESC LIMIT 10000";

/// All client backends but the one that asks count here; how many of them are the gateway's, the leases tell. An enabled
/// subscription counts whether or not its worker runs just now: it may be waiting to try its publisher again. A replication slot in use has a
/// WAL sender, or is a backend's, which counts.
pub(super) const OBSERVE: &str = "SELECT \
     count(*) FILTER (WHERE backend_type = 'client backend'), \
     count(*) FILTER (WHERE backend_type = 'walsender'), \
     (SELECT count(*) FROM pg_catalog.pg_stat_progress_basebackup), \
     (SELECT count(*) FROM pg_catalog.pg_stat_progress_vacuum) \
       + (SELECT count(*) FROM pg_catalog.pg_stat_progress_analyze) \
       + (SELECT count(*) FROM pg_catalog.pg_stat_progress_cluster) \
       + (SELECT count(*) FROM pg_catalog.pg_stat_progress_create_index), \
     (SELECT count(*) FROM pg_catalog.pg_subscription WHERE subenabled), \
     (SELECT count(*) FROM pg_catalog.pg_replication_slots WHERE NOT active AND NOT temporary) \
     FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid()";
