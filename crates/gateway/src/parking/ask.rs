//! Asking a session for its state through its own backend.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use nap_model::pin::Pin;
use nap_wire::extended;
use nap_wire::messages::{ErrorFields, parameter_status_bytes};
use nap_wire::sql::is_single_prepare;
use tokio::time::timeout;

use super::questions as q;
use super::state::{Origin, Reported, State, Statement};
use super::talk::{Aside, Outcome, Pipelines, Rows, array, our_prefix, talk};
use crate::hub::FENCE_CHANNEL_PREFIX;
use crate::local_stream::LocalStream;

/// It takes milliseconds. What takes longer waits for a lock on a catalog, or reads a great many functions.
pub(crate) const ASK_WITHIN: Duration = Duration::from_secs(5);

/// A session that listens to as many keeps its backend.
const CHANNELS_MAX: usize = 1_000;
/// Settings of a transaction; and those that are asked for by name.
const NOT_OF_THE_SESSION: [&[u8]; 7] = [
    b"transaction_isolation",
    b"transaction_read_only",
    b"transaction_deferrable",
    b"role",
    b"session_authorization",
    b"client_encoding",
    b"statement_timeout",
];
/// `insufficient_privilege`
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Whom is asked.
#[derive(Clone)]
pub(crate) struct Subject<'a> {
    /// The role that logged in.
    pub(crate) login: &'a str,
    /// Whether that is a superuser.
    pub(crate) superuser: bool,
    /// Dotted names of which some may be custom settings.
    pub(crate) names: Vec<&'a str>,
    /// The body of the last unnamed `Parse`.
    pub(crate) unnamed: Option<&'a [u8]>,
    /// The settings that the client is told about.
    pub(crate) reported: Vec<&'a str>,
}

/// What a session answered.
pub(crate) struct Asked {
    pub(crate) state: State,
    pub(crate) reported: Reported,
    pub(crate) idle_timeout: Option<Duration>,
    /// What it listens to, in the server's encoding, which is the client's too.
    pub(crate) channels: Vec<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The session is as it was.
    Pinned(Pin),
    /// Its backend has ended, or makes no sense any more.
    Broken,
}

impl From<io::Error> for NoAnswer {
    fn from(_: io::Error) -> Self {
        NoAnswer::Broken
    }
}

/// Asks. What the backend says besides, to the client, is appended to `for_client`. `cancel` is awaited when it takes
/// too long.
pub(crate) async fn ask(
    stream: &mut LocalStream,
    subject: &Subject<'_>,
    for_client: &mut Vec<u8>,
    cancel: impl Future<Output = ()>,
) -> Result<Asked, NoAnswer> {
    let asked = questions(subject);
    let mut aside = Aside::default();
    let mut talking = Box::pin(talk(stream, &asked.bytes, asked.syncs, &mut aside));
    let outcomes = match timeout(ASK_WITHIN, &mut talking).await {
        Ok(outcomes) => outcomes?,
        Err(_) => {
            cancel.await;
            timeout(ASK_WITHIN, &mut talking).await.map_err(|_| NoAnswer::Broken)??
        }
    };
    drop(talking);
    let read = read(subject, &outcomes);
    if outcomes.iter().any(|outcome| outcome.error.is_some()) {
        clean_up(stream, &asked, &outcomes, &mut aside).await?;
    }
    for_client.append(&mut aside.messages);
    for (name, value) in &aside.reported {
        parameter_status_bytes(for_client, name, value);
    }
    read
}

fn questions(subject: &Subject<'_>) -> Pipelines {
    let names = array(subject.names.iter().map(|name| name.as_bytes()));
    let reported = array(subject.reported.iter().map(|name| name.as_bytes()));
    let mut asked = Pipelines::default();
    asked.run(q::BEGIN, &[]);
    asked.run(q::WHO, &[]);
    asked.run(q::REPORTED, &[&reported]);
    asked.run(q::SETTLE, &[]);
    asked.run(q::SETTINGS, &[]);
    asked.run(q::SEARCH_PATH, &[]);
    asked.run(q::CUSTOM, &[&names]);
    asked.run(q::STATEMENTS, &[]);
    asked.run(q::CHANNELS, &[]);
    asked.run(q::PINS, &[]);
    asked.run(q::ROLLBACK, &[]);
    asked.sync();
    if subject.superuser {
        asked.run(q::BEGIN, &[]);
        asked.run(q::SETTLE, &[]);
        asked.run(q::SUPERUSER_PINS, &[]);
        asked.run(q::ROLLBACK, &[]);
        asked.sync();
    }
    if subject.unnamed.is_some() {
        // An error if there is none: no view shows it.
        asked.run(q::BEGIN, &[]);
        extended::describe_statement(&mut asked.bytes, b"");
        asked.run(q::ROLLBACK, &[]);
        asked.sync();
    }
    asked
}

/// Ends a transaction that failed, and closes what it left.
pub(super) async fn clean_up(
    stream: &mut LocalStream,
    asked: &Pipelines,
    outcomes: &[Outcome],
    aside: &mut Aside,
) -> Result<(), NoAnswer> {
    let mut cleaning = Pipelines::after(asked);
    if outcomes.last().is_some_and(|outcome| outcome.status != b'I') {
        cleaning.run(q::ROLLBACK, &[]);
    }
    cleaning.sync();
    let cleaned = timeout(ASK_WITHIN, talk(stream, &cleaning.bytes, cleaning.syncs, aside)).await;
    let cleaned = cleaned.map_err(|_| NoAnswer::Broken)??;
    match cleaned.last() {
        Some(last) if last.status == b'I' && last.error.is_none() => Ok(()),
        _ => Err(NoAnswer::Broken),
    }
}

fn read(subject: &Subject<'_>, outcomes: &[Outcome]) -> Result<Asked, NoAnswer> {
    let not_asked = |error: Option<&ErrorFields>| {
        let (sqlstate, message) = error.map(|error| (error.sqlstate.as_str(), error.message.as_str())).unzip();
        tracing::debug!(sqlstate, message, "a session could not be asked for its state");
        NoAnswer::Pinned(Pin::NotAsked)
    };
    if outcomes.iter().any(|outcome| outcome.cut) {
        return Err(NoAnswer::Pinned(Pin::TooMuch));
    }
    let mut outcomes = outcomes.iter();
    let main = outcomes.next().ok_or_else(|| not_asked(None))?;
    let [_, who, reported, _, settings, _, custom, statements, channels, pins, _] = main.results.as_slice() else {
        return Err(not_asked(main.error.as_ref()));
    };
    let superuser = if subject.superuser { outcomes.next() } else { None };
    let unnamed_is_there = outcomes.next().is_some_and(|described| described.error.is_none());

    let answers = || read_state(subject, who, settings, custom, statements);
    let (mut state, idle_timeout) = answers().ok_or_else(|| not_asked(None))?;
    let pin = pins.first().and_then(|row| first_pin(row));
    let pin = pin.or_else(|| superuser.and_then(|outcome| superuser_pin(outcome, &state)));
    let pin = pin.or_else(|| state.statements.values().find_map(statement_pin));
    let channels: Vec<Vec<u8>> = channels.iter().filter_map(|row| row.first().cloned().flatten()).collect();
    if let Some(pin) = pin.or_else(|| channels_pin(&channels, &state)) {
        return Err(NoAnswer::Pinned(pin));
    }
    state.unnamed = subject.unnamed.filter(|_| unnamed_is_there).map(<[u8]>::to_vec);
    let reported = reported.iter().filter_map(|row| match row.as_slice() {
        [Some(name), Some(value)] => Some((String::from_utf8_lossy(name).into_owned(), value.clone())),
        _ => None,
    });
    Ok(Asked { state, reported: reported.collect(), idle_timeout, channels })
}

fn read_state(
    subject: &Subject<'_>,
    who: &Rows,
    settings: &Rows,
    custom: &Rows,
    statements: &Rows,
) -> Option<(State, Option<Duration>)> {
    let [Some(role), Some(user), Some(client_encoding), Some(server_encoding), Some(timeout)] = who.first()?.as_slice()
    else {
        return None;
    };
    let (mut kept, mut idle_timeout) = (BTreeMap::new(), None);
    for row in settings {
        let [Some(name), Some(value), Some(source)] = row.as_slice() else { return None };
        if name == b"idle_session_timeout" {
            let milliseconds: u64 = str::from_utf8(value).ok()?.parse().ok()?;
            idle_timeout = Some(Duration::from_millis(milliseconds)).filter(|span| !span.is_zero());
        }
        if source == b"session" && !NOT_OF_THE_SESSION.contains(&name.as_slice()) {
            kept.insert(name.clone(), value.clone());
        }
    }
    for row in custom {
        let [Some(name), Some(value)] = row.as_slice() else { return None };
        kept.insert(name.clone(), value.clone());
    }
    let statements = statements.iter().filter(|row| !is_ours(row)).map(|row| statement(row));
    let state = State {
        settings: kept,
        statement_timeout: timeout.clone(),
        client_encoding: client_encoding.clone(),
        server_encoding: server_encoding.clone(),
        role: role.clone(),
        session_authorization: Some(user.clone()).filter(|user| user != subject.login.as_bytes()),
        statements: statements.collect::<Option<_>>()?,
        unnamed: None,
    };
    Some((state, idle_timeout))
}

fn is_ours(row: &[Option<Vec<u8>>]) -> bool {
    matches!(row.first(), Some(Some(name)) if name.starts_with(our_prefix().as_bytes()))
}

fn statement(row: &[Option<Vec<u8>>]) -> Option<(Vec<u8>, Statement)> {
    let [Some(name), Some(text), Some(from_sql), Some(types)] = row else { return None };
    let origin = if from_sql == b"t" {
        Origin::Sql
    } else {
        let types = str::from_utf8(types).ok()?;
        Origin::Protocol(types.split_whitespace().map(|oid| oid.parse().ok()).collect::<Option<_>>()?)
    };
    Some((name.clone(), Statement { text: text.clone(), origin }))
}

/// A PREPARE's text is that of the whole query it came in.
fn statement_pin(statement: &Statement) -> Option<Pin> {
    let single = statement.origin != Origin::Sql || is_single_prepare(&statement.text);
    (!single).then_some(Pin::PrepareAmongOthers)
}

fn is_true(column: &Option<Vec<u8>>) -> bool {
    column.as_deref() == Some(b"t")
}

fn first_pin(row: &[Option<Vec<u8>>]) -> Option<Pin> {
    let pins = [Pin::TemporaryObjects, Pin::HeldCursor, Pin::Locks, Pin::KeepAwake];
    row.iter().zip(pins).find(|(column, _)| is_true(column)).map(|(_, pin)| pin)
}

/// The hub hears what is said in the server's encoding. (Nothing is converted from SQL_ASCII.) And fences are its own.
fn channels_pin(channels: &[Vec<u8>], state: &State) -> Option<Pin> {
    if channels.iter().any(|channel| channel.starts_with(FENCE_CHANNEL_PREFIX.as_bytes())) {
        return Some(Pin::NotAsked);
    }
    let converted = state.client_encoding != state.server_encoding && state.server_encoding != b"SQL_ASCII";
    match channels.len() {
        0 => None,
        CHANNELS_MAX.. => Some(Pin::TooMuch),
        _ => converted.then_some(Pin::Listens),
    }
}

/// Who became somebody else may not be told, and could have begun it before: then nobody knows.
fn superuser_pin(outcome: &Outcome, state: &State) -> Option<Pin> {
    match (&outcome.error, outcome.results.get(2).and_then(|rows| rows.first())) {
        (None, Some(row)) => match row.as_slice() {
            [origin, _] if is_true(origin) => Some(Pin::ReplicationOrigin),
            [_, backup] if is_true(backup) => Some(Pin::Backup),
            _ => None,
        },
        (Some(error), _) if error.sqlstate == INSUFFICIENT_PRIVILEGE && state.session_authorization.is_some() => None,
        _ => Some(Pin::NotAsked),
    }
}
