//! What comes back with a session, and what keeps it whole in a hostile state.

use super::*;

/// Runs commands, parks, and compares what the questions answer before and after.
fn survives(home: &TestHome, commands: &[&str], questions: &[&str]) {
    let mut session = session(home);
    for command in commands {
        session.ask(command).unwrap_or_else(|error| panic!("{command}: {error:?}"));
    }
    let before: Vec<_> = questions.iter().map(|question| session.ask(question)).collect();
    all_parked(home, "main");
    let after: Vec<_> = questions.iter().map(|question| session.ask(question)).collect();
    assert_eq!(after, before, "{commands:?}");
    session.send(b"X\0\0\0\x04");
    eventually("it has left", || sessions(home, "main").is_empty().then_some(()));
}

#[test]
fn settings_come_back() {
    let home = home();
    let nasty = r#"SET my.var = E'quote '' double " back \\ brace { } comma , newline \n é NULL'"#;
    survives(
        &home,
        &[nasty, "SET my.empty = ''"],
        &["SHOW my.var", "SHOW my.empty", "SELECT length(current_setting('my.var'))"],
    );
    survives(
        &home,
        &[
            "SET search_path = \"$user\", \"odd \"\"schema\", public",
            "SET DateStyle = 'German'",
            "SET TimeZone = 'Asia/Tokyo'",
        ],
        &["SHOW search_path", "SHOW DateStyle", "SHOW TimeZone", "SELECT '2026-03-01'::date"],
    );
    survives(
        &home,
        &["SET work_mem = '7MB'", "SET statement_timeout = '7min'", "SET lock_timeout = 1234"],
        &["SHOW work_mem", "SHOW statement_timeout", "SHOW lock_timeout"],
    );
    survives(
        &home,
        &["SET my.reset = 'x'", "RESET my.reset"],
        &["SELECT current_setting('my.reset', true) IS NULL", "SELECT current_setting('my.reset', true)"],
    );
    survives(
        &home,
        &["BEGIN", "SET LOCAL my.local = 'x'", "COMMIT"],
        &["SELECT current_setting('my.local', true) = ''"],
    );
    survives(
        &home,
        &["SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE"],
        &["SHOW transaction_isolation", "SHOW transaction_read_only", "SHOW transaction_deferrable"],
    );
    let hidden = "CREATE FUNCTION remember(v text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('hidden.name', v, false) $$";
    survives(&home, &[hidden, "SELECT remember('deep')"], &["SELECT current_setting('hidden' || '.' || 'name', true)"]);
}

#[test]
fn roles_come_back() {
    let home = home();
    home.psql("main", "CREATE ROLE reader; CREATE ROLE writer").ok();
    let who = &["SELECT session_user || '/' || current_user", "SHOW role", "SHOW is_superuser"];
    survives(&home, &["SET ROLE reader"], who);
    survives(&home, &["SET SESSION AUTHORIZATION reader"], who);
    survives(
        &home,
        &["SET session_replication_role = replica", "SET SESSION AUTHORIZATION writer"],
        &[who[0], who[1], "SHOW session_replication_role"],
    );
    // Back to who logged in, after it was somebody else.
    survives(&home, &["SET SESSION AUTHORIZATION reader", "RESET SESSION AUTHORIZATION", "SET ROLE writer"], who);
}

#[test]
fn prepared_statements_come_back() {
    let home = home();
    let list = "SELECT string_agg(name || statement || from_sql || parameter_types::text, ',' ORDER BY name) FROM pg_prepared_statements";
    survives(
        &home,
        &["PREPARE a(int, text) AS SELECT $1 + 1, ';' || $2", "PREPARE b AS VALUES ('é')"],
        &[list, "EXECUTE a(41, 'x')", "EXECUTE b"],
    );
    survives(
        &home,
        &[
            "SET search_path = other",
            "CREATE SCHEMA other",
            "CREATE TABLE other.t (i int)",
            "PREPARE c AS SELECT count(*) FROM t",
        ],
        &[list, "EXECUTE c"],
    );
    home.psql("postgres@main", "CREATE ROLE narrow; CREATE SCHEMA closed; CREATE TABLE closed.t (i int); GRANT USAGE ON SCHEMA closed TO narrow; GRANT SELECT ON closed.t TO narrow; CREATE ROLE entry LOGIN NOINHERIT IN ROLE narrow").ok();
    let mut session =
        Raw::unix(&home.socket_directory(), home.port()).start(&[("user", "entry"), ("database", "postgres")]);
    session.ready().unwrap();
    session.ask("SET ROLE narrow").unwrap();
    session.ask("PREPARE d AS SELECT count(*) FROM closed.t").unwrap();
    all_parked(&home, "main");
    assert_eq!(session.ask("EXECUTE d").unwrap(), "0", "only the role that it became may look into the schema");
}

#[test]
fn a_statement_that_cannot_be_prepared_any_more_fails_when_it_is_used() {
    let home = home();
    let mut session = session(&home);
    session.ask("CREATE TABLE goes (i int)").unwrap();
    session.ask("PREPARE a AS SELECT * FROM goes").unwrap();
    session.ask("PREPARE b AS SELECT 8").unwrap();
    all_parked(&home, "main");
    home.psql("postgres@main", "DROP TABLE goes").ok();
    assert_eq!(session.ask("EXECUTE b").unwrap(), "8");
    assert_eq!(session.ask("EXECUTE a").unwrap_err().code, "26000");
}

#[test]
fn encodings_make_no_difference() {
    let home = home();
    let mut session = session_of(&home, "main", &[("client_encoding", "UTF8")]);
    session.ask("SET my.name = 'Ærø'").unwrap();
    session.ask("PREPARE \"Ærø\" AS SELECT 'ø'::text").unwrap();
    session.ask("SET client_encoding = 'LATIN1'").unwrap();
    all_parked(&home, "main");
    assert_eq!(session.ask("SHOW client_encoding").unwrap(), "LATIN1");
    assert_eq!(session.ask("SELECT octet_length(current_setting('my.name'))").unwrap(), "5");
    session.ask("SET client_encoding = 'UTF8'").unwrap();
    assert_eq!(session.ask("EXECUTE \"Ærø\"").unwrap(), "ø");
    assert_eq!(session.ask("SHOW my.name").unwrap(), "Ærø");
}

#[test]
fn a_client_is_told_of_settings_that_are_others_now() {
    let home = home();
    let mut session = session(&home);
    session.ask("SET DateStyle = 'German'").unwrap();
    home.nap(&["sleep"]).ok();
    home.psql("main", "ALTER SYSTEM SET TimeZone = 'Asia/Tokyo'").ok();
    home.psql("main", "SELECT pg_reload_conf()").ok();
    home.nap(&["sleep"]).ok();
    session.send(b"Q\0\0\0\x0dSELECT 2\0");
    let mut told = Vec::new();
    loop {
        match session.message().unwrap() {
            (b'S', body) => told.push(String::from_utf8_lossy(&body).into_owned()),
            (b'Z', _) => break,
            _ => {}
        }
    }
    assert_eq!(told, ["TimeZone\0Asia/Tokyo\0"]);
}

#[test]
fn hostile_states_are_asked_without_harm() {
    let home = home();
    home.psql(
        "postgres@main",
        "CREATE SCHEMA trap;
         CREATE FUNCTION trap.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$;
         CREATE FUNCTION trap.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap'; END $$;
         CREATE FUNCTION trap.eq(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
         CREATE OPERATOR trap.= (FUNCTION = trap.eq, LEFTARG = text, RIGHTARG = text);
         CREATE VIEW trap.pg_settings AS SELECT 'trap'::text AS name, 'x'::text AS setting, 'session'::text AS source;
         CREATE ROLE nothing",
    )
    .ok();
    let hostile: [&[&str]; 7] = [
        &["SET search_path = trap, pg_catalog"],
        &["SET standard_conforming_strings = off", "SET escape_string_warning = on", "SET backslash_quote = off"],
        &[
            "SET client_encoding = 'SJIS'",
            "SET DateStyle = 'SQL, DMY'",
            "SET IntervalStyle = 'sql_standard'",
            "SET bytea_output = 'escape'",
        ],
        &[
            "SET default_transaction_isolation = 'serializable'",
            "SET default_transaction_read_only = on",
            "SET default_transaction_deferrable = on",
        ],
        &["SET row_security = off", "SET ROLE nothing"],
        &[
            "SET quote_all_identifiers = on",
            "SET transform_null_equals = on",
            "SET array_nulls = off",
            "SET extra_float_digits = -15",
        ],
        &[
            "SET enable_seqscan = off",
            "SET enable_indexscan = off",
            "SET jit_above_cost = 0",
            "SET work_mem = 64",
            "SET plan_cache_mode = 'force_generic_plan'",
        ],
    ];
    for commands in hostile {
        survives(&home, commands, &["SELECT 'a' || 'b'", "SHOW search_path", "SHOW client_encoding", "SHOW role"]);
    }
}

#[test]
fn who_would_wait_for_a_safe_snapshot_is_not_made_to() {
    let home = home();
    home.psql("postgres@main", "CREATE TABLE written (i int)").ok();
    let mut writer = session(&home);
    writer.ask("BEGIN ISOLATION LEVEL SERIALIZABLE").unwrap();
    writer.ask("INSERT INTO written VALUES (1)").unwrap();
    let mut patient = session(&home);
    patient
        .ask("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE")
        .unwrap();
    let states: Vec<String> = park(&home, "main").into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["idle in transaction", "parked"]);
    assert_eq!(patient.ask("SHOW transaction_deferrable").unwrap(), "on");
    writer.ask("COMMIT").unwrap();
}
