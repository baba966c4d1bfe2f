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

pub(super) const ENABLED_SUBSCRIPTIONS: &str = "SELECT count(*) FROM pg_catalog.pg_subscription WHERE subenabled";

pub(super) const POSITION: &str = "SELECT pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text, \
     (SELECT system_identifier FROM pg_catalog.pg_control_system())::pg_catalog.text";

/// With archiving, a shutdown would switch to a new segment and so move the shutdown checkpoint; done now, there is
/// nothing left to switch.
pub(super) const SWITCH_WAL_IF_ARCHIVED: &str = "SELECT pg_catalog.pg_switch_wal() \
     WHERE pg_catalog.current_setting('archive_mode') <> 'off'";

/// All client backends but the one that asks count here; how many of them are the gateway's, the leases tell. An enabled
/// subscription counts whether or not its worker runs just now: it may be waiting to try its publisher again.
pub(super) const OBSERVE: &str = "SELECT \
     count(*) FILTER (WHERE backend_type = 'client backend'), \
     count(*) FILTER (WHERE backend_type = 'walsender'), \
     (SELECT count(*) FROM pg_catalog.pg_stat_progress_basebackup), \
     (SELECT count(*) FROM pg_catalog.pg_stat_progress_vacuum) \
       + (SELECT count(*) FROM pg_catalog.pg_stat_progress_analyze) \
       + (SELECT count(*) FROM pg_catalog.pg_stat_progress_cluster) \
       + (SELECT count(*) FROM pg_catalog.pg_stat_progress_create_index), \
     (SELECT count(*) FROM pg_catalog.pg_subscription WHERE subenabled) \
     FROM pg_catalog.pg_stat_activity WHERE pid <> pg_catalog.pg_backend_pid()";
