//! Giving a kept state to a fresh backend.

use std::collections::BTreeSet;
use std::io;

use nap_wire::extended::{self, tag};
use nap_wire::messages::{ErrorFields, message};

use super::state::{Origin, Reported, State, Statement};
use super::talk::{Aside, Outcome, Pipelines, array, talk};
use crate::local_stream::LocalStream;

/// All of them by one statement: it is not subject to what it sets.
const SET_ALL: &str = "SELECT pg_catalog.set_config(s.n, s.v, false) \
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS s(n, v)";
const SET_ONE: &str = "SELECT pg_catalog.set_config($1::pg_catalog.text, $2::pg_catalog.text, false)";

/// What would be in the way of restoring the rest: they come last.
const LATE: [&[u8]; 6] = [
    b"default_transaction_isolation",
    b"default_transaction_read_only",
    b"default_transaction_deferrable",
    b"lock_timeout",
    b"transaction_timeout",
    b"idle_in_transaction_session_timeout",
];

const STATEMENT_TIMEOUT: &[u8] = b"statement_timeout";

/// Why a state could not be restored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRestored {
    /// The backend has ended, or makes no sense.
    #[error("its connection to the server broke")]
    Broken(#[from] io::Error),
    /// Something it needs is locked.
    #[error("its server took too long, perhaps because a table of a prepared statement is locked")]
    Late,
    /// The server refused.
    #[error("{}", .0.message)]
    Refused(ErrorFields),
}

/// Gives `state` to a backend that has just begun, and notes what it reports of it. A statement that cannot be prepared
/// any more is missing afterwards, which shows when it is used.
pub(crate) async fn replay(
    stream: &mut LocalStream,
    state: &State,
    reported: &mut Reported,
) -> Result<(), NotRestored> {
    let (late, early): (Vec<_>, Vec<_>) = state.settings.iter().partition(|(name, _)| LATE.contains(&name.as_slice()));
    let mut first = Pipelines::default();
    // What a role or a database sets for every session must not be in the way.
    first.run(SET_ONE, &[STATEMENT_TIMEOUT, b"0"]);
    first.run(SET_ONE, &[b"lock_timeout", b"0"]);
    // Kept texts are in the server's encoding.
    first.run(SET_ONE, &[b"client_encoding", &state.server_encoding]);
    first.sync();
    set_all(&mut first, &early);
    for (name, statement) in &state.statements {
        prepare(&mut first, name, statement);
    }
    become_role(&mut first, state);
    let mut aside = Aside::default();
    let outcomes = talk(stream, &first.bytes, first.syncs, &mut aside).await?;

    let failed = |outcomes: &[Outcome]| outcomes.iter().any(|outcome| outcome.error.is_some());
    let mut second = if failed(&outcomes) { Pipelines::after(&first) } else { Pipelines::default() };
    let mut may_fail = retry(&mut second, state, &early, &outcomes)?;
    second.run("RESET lock_timeout", &[]);
    second.run(SET_ONE, &[b"client_encoding", &state.client_encoding]);
    second.sync();
    if let Some(body) = &state.unnamed {
        message(&mut second.bytes, tag::PARSE, |out| out.extend_from_slice(body));
        may_fail.insert(second.syncs);
        second.sync();
    }
    // All that is in the way of statements, by the last one.
    let timeout = (&STATEMENT_TIMEOUT.to_vec(), &state.statement_timeout);
    set_all(&mut second, &[late, vec![timeout]].concat());
    let outcomes = talk(stream, &second.bytes, second.syncs, &mut aside).await?;
    for (at, outcome) in outcomes.iter().enumerate() {
        if !(may_fail.contains(&at) && outcome.error.as_ref().is_some_and(is_of_the_statement)) {
            done(outcome)?;
        }
    }
    if failed(&outcomes) {
        let mut third = Pipelines::after(&second);
        third.sync();
        talk(stream, &third.bytes, third.syncs, &mut aside).await?;
    }
    reported.append(&mut aside.reported);
    Ok(())
}

/// Whether a statement cannot be prepared any more, because of what it says: otherwise (a cancel, no memory) it could be.
fn is_of_the_statement(error: &ErrorFields) -> bool {
    !["08", "40", "53", "55", "57", "58", "XX"].iter().any(|class| error.sqlstate.starts_with(class))
}

fn done(outcome: &Outcome) -> Result<(), NotRestored> {
    match &outcome.error {
        Some(error) => Err(NotRestored::Refused(error.clone())),
        None => Ok(()),
    }
}

/// As who is asked for only if it is not the case already: whoever may do nothing at all may not ask for it either.
fn become_role(pipelines: &mut Pipelines, state: &State) {
    if let Some(user) = &state.session_authorization {
        pipelines.run(SET_ONE, &[b"session_authorization", user]);
    }
    if state.role != b"none" {
        pipelines.run(SET_ONE, &[b"role", &state.role]);
    }
    pipelines.sync();
}

/// What the role that logged in may not do, the one it became perhaps may. Gives back which of the second round's
/// outcomes may be errors: those of statements, which then are missing.
fn retry(
    second: &mut Pipelines,
    state: &State,
    early: &[(&Vec<u8>, &Vec<u8>)],
    outcomes: &[Outcome],
) -> Result<BTreeSet<usize>, NotRestored> {
    let [encoding, settings, statements @ .., role] = outcomes else {
        return Err(io::Error::from(io::ErrorKind::InvalidData).into());
    };
    done(encoding)?;
    done(role)?;
    if settings.error.is_some() {
        set_all(second, early);
    }
    let start = second.syncs;
    for ((name, statement), outcome) in state.statements.iter().zip(statements) {
        match &outcome.error {
            None => {}
            Some(error) if is_of_the_statement(error) => prepare(second, name, statement),
            Some(error) => return Err(NotRestored::Refused(error.clone())),
        }
    }
    Ok((start..second.syncs).collect())
}

fn set_all(pipelines: &mut Pipelines, settings: &[(&Vec<u8>, &Vec<u8>)]) {
    if !settings.is_empty() {
        let names = array(settings.iter().map(|(name, _)| name.as_slice()));
        let values = array(settings.iter().map(|(_, value)| value.as_slice()));
        pipelines.run(SET_ALL, &[&names, &values]);
    }
    pipelines.sync();
}

fn prepare(pipelines: &mut Pipelines, name: &[u8], statement: &Statement) {
    match &statement.origin {
        Origin::Protocol(types) => extended::parse(&mut pipelines.bytes, name, &statement.text, types),
        Origin::Sql => pipelines.run_bytes(&statement.text, &[]),
    }
    pipelines.sync();
}
