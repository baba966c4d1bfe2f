//! What a session is asked. The first questions are asked in whatever search path there is, with roles that may read
//! nothing: they name the schema of everything. None holds a backslash, which `standard_conforming_strings` gives
//! another meaning.

/// A session whose transactions are serializable, read only and deferrable would wait here for ever. What is asked writes
/// nothing, and in recovery nobody may say READ WRITE.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE";
pub(super) const ROLLBACK: &str = "ROLLBACK";
pub(super) const COMMIT: &str = "COMMIT";
/// For as long as the transaction takes.
pub(super) const WITHOUT_TIMEOUT: &str = "SELECT pg_catalog.set_config('statement_timeout', '0', true)";

/// Who it is, and what is changed next: role, session user, client and server encoding, statement_timeout.
pub(super) const WHO: &str = "SELECT pg_catalog.current_setting('role'), session_user, \
    pg_catalog.current_setting('client_encoding'), pg_catalog.current_setting('server_encoding'), \
    pg_catalog.current_setting('statement_timeout')";

/// What the client was last told of the settings of these names, in its own encoding.
pub(super) const REPORTED: &str = "SELECT u.n, pg_catalog.current_setting(u.n, true) \
    FROM pg_catalog.unnest($1::pg_catalog.text[]) AS u(n)";

/// From here on as the session's user, in the server's encoding, for as long as it takes. While a role is set, rows of
/// settings that are for superusers only are missing.
pub(super) const SETTLE: &str = "SELECT pg_catalog.set_config('statement_timeout', '0', true), \
    pg_catalog.set_config('role', 'none', true), \
    pg_catalog.set_config('client_encoding', pg_catalog.current_setting('server_encoding'), true)";

/// What was set in the session, and how long it may do nothing. (The other columns must not be seen by an operator of
/// the session's own.)
pub(super) const SETTINGS: &str = "SELECT s.name, s.setting, s.source FROM pg_catalog.pg_settings AS s \
    WHERE s.source OPERATOR(pg_catalog.=) 'session' OR s.name OPERATOR(pg_catalog.=) 'idle_session_timeout'";

pub(super) const SEARCH_PATH: &str = "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)";

/// Custom settings: by name only. Names come from the session's own texts, from settings of roles, databases and
/// functions, and from the bodies of functions.
pub(super) const CUSTOM: &str = "SELECT n, current_setting(n, true) FROM ( \
        SELECT unnest($1::text[]) \
        UNION SELECT (regexp_matches(prosrc, '([A-Za-z_][A-Za-z0-9_$]*([.][A-Za-z_][A-Za-z0-9_$]*)+)', 'g'))[1] \
            FROM pg_proc WHERE oid >= 16384 AND strpos(prosrc, '.') > 0 AND strpos(lower(prosrc), 'set') > 0 \
        UNION SELECT split_part(unnest(proconfig), '=', 1) FROM pg_proc WHERE oid >= 16384 \
        UNION SELECT split_part(unnest(setconfig), '=', 1) FROM pg_db_role_setting) AS names(n) \
    WHERE strpos(n, '.') > 0 AND lower(n) NOT IN (SELECT lower(name) FROM pg_settings) \
        AND current_setting(n, true) IS NOT NULL";

pub(super) const STATEMENTS: &str =
    "SELECT name, statement, from_sql, array_to_string(parameter_types::oid[], ' ') FROM pg_prepared_statements";

/// What it listens to, in the order of its LISTENs.
pub(super) const CHANNELS: &str = "SELECT c FROM pg_listening_channels() AS c";

/// Temporary objects (a schema stays when they have gone), cursors, locks beyond those that this transaction takes by
/// reading, and whether it asked to be left awake.
pub(super) const PINS: &str = "SELECT \
        EXISTS (SELECT FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = pg_my_temp_schema()), \
        EXISTS (SELECT FROM pg_cursors WHERE is_holdable), \
        EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid' \
            AND (locktype <> 'relation' OR mode <> 'AccessShareLock' OR relation >= 16384)), \
        coalesce(lower(current_setting('nap.keep_awake', true)) IN ('on', 'true', 'yes', '1'), false)";

/// What only a superuser can have begun, or be told of. In recovery there are no origins, and asking for one is an error.
pub(super) const SUPERUSER_PINS: &str = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN false \
        ELSE pg_catalog.pg_replication_origin_session_is_setup() END, EXISTS ( \
        SELECT FROM pg_catalog.pg_backend_memory_contexts AS c \
        WHERE c.name OPERATOR(pg_catalog.=) 'on-line backup context')";
