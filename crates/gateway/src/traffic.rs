//! What a session's passing messages say of it: whether anything is under way, and the little of its state that no
//! question to its backend can find out.

use std::collections::HashSet;

use nap_wire::extended::{bound_values, parse_bare_bind, parse_parse, parse_query, tag};
use nap_wire::frame::{Follower, Message, Passed, Scanner};
use nap_wire::messages;
use nap_wire::sql::{KEEP_AWAKE, dotted_names, keep_awake, ping};
use serde::{Deserialize, Serialize};

/// So many dotted names are kept of a session. What an application sets has some; the rest are columns of tables.
const NAMES_MAX: usize = 4_096;
/// So many prepared statements are known to be pings.
const PING_STATEMENTS_MAX: usize = 16;
/// No ping is longer.
const PING_TEXT_MAX_BYTES: usize = 128;

/// The unnamed prepared statement, which no view of PostgreSQL's shows.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unnamed {
    /// There is none.
    #[default]
    None,
    /// The body of its `Parse`. It may have failed.
    Parsed(Vec<u8>),
    /// It passed unread.
    TooLong,
}

/// Follows both directions of a session.
#[derive(Default)]
pub(crate) struct Traffic {
    client: Follower,
    backend: Scanner,
    seen: Seen,
}

/// What has passed, and still matters.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// So many `ReadyForQuery` are to come.
    outstanding: u32,
    /// An extended pipeline has begun that no `Sync` has ended.
    open: bool,
    /// The last thing that asked for `ReadyForQuery` was a simple query.
    simple: bool,
    copy: Copy,
    /// What the two sides said did not fit together: it is never known again whether anything is under way.
    lost: bool,
    /// Something other than pings has passed since it was last ready.
    worked: bool,
    unnamed: Unnamed,
    names: HashSet<Box<str>>,
    ping_statements: HashSet<Vec<u8>>,
    /// A text passed unread, or more names than are kept.
    too_much: bool,
    backup: bool,
    /// What was said of it, as long as nobody has been told.
    keep_awake: Option<bool>,
    /// Grows with everything but pings.
    changes: u64,
}

/// COPY FROM STDIN by the extended protocol: until it ends the server reads past every `Sync`.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
enum Copy {
    #[default]
    None,
    /// The server takes data.
    In,
    /// The client has sent all data before the server said that it takes any.
    Ahead,
}

/// What a session's backend has said of its state.
pub(crate) struct Ready {
    /// `I`, `T` or `E`.
    pub(crate) status: u8,
    /// Whether it did something other than answer pings.
    pub(crate) worked: bool,
    /// What a text that it has executed since said of `nap.keep_awake`.
    pub(crate) keep_awake: Option<bool>,
}

fn wanted(tag: u8) -> bool {
    matches!(tag, tag::QUERY | tag::PARSE | tag::BIND | tag::FUNCTION_CALL)
}

impl Traffic {
    /// A fresh backend: what the last one had said is past.
    pub(crate) fn begin(&mut self) {
        self.backend = Scanner::new();
        self.seen.outstanding = 0;
        self.seen.open = false;
        self.seen.copy = Copy::None;
    }

    /// Bytes of the client, on their way to the backend.
    pub(crate) fn client_sent(&mut self, bytes: &[u8]) {
        let Self { client, seen, .. } = self;
        client.feed(bytes, wanted, |passed| seen.client(passed));
    }

    /// Bytes of the backend, on their way to the client.
    pub(crate) fn backend_sent(&mut self, bytes: &[u8], mut on_ready: impl FnMut(Ready)) {
        let Self { backend, seen, .. } = self;
        // A stream that makes no sense is still the client's to judge: it is passed on.
        let followed = backend.feed(bytes, |message| {
            if let Some(ready) = seen.backend(message) {
                on_ready(ready);
            }
        });
        seen.lost |= followed.is_err();
    }

    /// The backend's first words, which nobody has asked for.
    pub(crate) fn greeted(&mut self, bytes: &[u8], on_ready: impl FnMut(Ready)) {
        self.seen.outstanding = 1;
        self.seen.worked = true;
        self.backend_sent(bytes, on_ready);
    }

    /// Whether nothing is under way in either direction.
    pub(crate) fn is_quiet(&self) -> bool {
        let seen = &self.seen;
        let idle = seen.outstanding == 0 && !seen.open && seen.copy == Copy::None && !seen.lost;
        idle && self.client.at_boundary() && self.backend.at_boundary()
    }

    /// Whether both sides are between two messages, so that somebody else could go on following them.
    pub(crate) fn is_at_boundaries(&self) -> bool {
        self.client.at_boundary() && self.backend.at_boundary()
    }

    /// Goes on where somebody else was at the boundaries.
    pub(crate) fn resumed(seen: Seen) -> Self {
        Self { client: Follower::default(), backend: Scanner::default(), seen }
    }

    /// What there is to go on with.
    pub(crate) fn into_seen(self) -> Seen {
        self.seen
    }

    /// Whether the backend is between two messages, so that another one may be put there.
    pub(crate) fn backend_is_at_boundary(&self) -> bool {
        self.backend.at_boundary()
    }

    /// The unnamed statement, as of the last `Parse`.
    pub(crate) fn unnamed(&self) -> &Unnamed {
        &self.seen.unnamed
    }

    /// It turned out to be another one.
    pub(crate) fn set_unnamed(&mut self, unnamed: Unnamed) {
        self.seen.unnamed = unnamed;
    }

    /// All dotted names that have passed: custom settings are among them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.seen.names.iter().map(|name| &**name)
    }

    /// Something passed that should have been read, and was too long.
    pub(crate) fn too_much(&self) -> bool {
        self.seen.too_much
    }

    /// A text spoke of beginning a backup.
    pub(crate) fn backup(&self) -> bool {
        self.seen.backup
    }

    /// The same number means that nothing but pings has passed.
    pub(crate) fn changes(&self) -> u64 {
        self.seen.changes
    }
}

impl Seen {
    fn client(&mut self, Passed { tag, body }: Passed<'_>) {
        match tag {
            tag::QUERY => {
                self.asks();
                self.simple = true;
                self.unnamed = Unnamed::None;
                let text = body.and_then(parse_query);
                self.read(text);
                if !text.is_some_and(is_ping) {
                    self.works();
                }
            }
            tag::PARSE => self.parses(body),
            tag::BIND => self.binds(body),
            tag::SYNC => match self.copy {
                // No client does this on purpose, and whether the server reads it is a matter of luck.
                Copy::In => self.lost = true,
                _ => {
                    self.asks();
                    self.simple = false;
                    self.open = false;
                }
            },
            tag::FUNCTION_CALL => {
                self.asks();
                self.read(body);
                self.works();
            }
            tag::COPY_DONE | tag::COPY_FAIL => {
                self.copy = if self.copy == Copy::In { Copy::None } else { Copy::Ahead };
            }
            _ => self.open |= matches!(tag, tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FLUSH),
        }
    }

    fn asks(&mut self) {
        self.outstanding = self.outstanding.saturating_add(1);
    }

    fn works(&mut self) {
        self.worked = true;
        self.changes += 1;
    }

    fn parses(&mut self, body: Option<&[u8]>) {
        self.open = true;
        let parse = body.and_then(parse_parse);
        self.read(parse.map(|parse| parse.text));
        match (body, parse) {
            (Some(body), Some(parse)) if parse.name.is_empty() => match &mut self.unnamed {
                Unnamed::Parsed(kept) => {
                    kept.clear();
                    kept.extend_from_slice(body);
                }
                unnamed => *unnamed = Unnamed::Parsed(body.to_vec()),
            },
            (_, Some(_)) => {}
            _ => self.unnamed = Unnamed::TooLong,
        }
        match parse {
            Some(parse) if parse.typed_parameters == 0 && is_ping(parse.text) => {
                if self.ping_statements.len() < PING_STATEMENTS_MAX {
                    self.ping_statements.insert(parse.name.to_vec());
                }
                // One with a name is state.
                self.changes += u64::from(!parse.name.is_empty());
            }
            parse => {
                if !self.ping_statements.is_empty() {
                    self.ping_statements.remove(parse.map_or(&b""[..], |parse| parse.name));
                }
                self.works();
            }
        }
    }

    fn binds(&mut self, body: Option<&[u8]>) {
        self.open = true;
        let bare = if self.ping_statements.is_empty() { None } else { body.and_then(parse_bare_bind) };
        if bare.is_some_and(|bound| bound.portal.is_empty() && self.ping_statements.contains(bound.statement)) {
            return;
        }
        self.works();
        match body {
            Some(body) if memchr::memchr(b'.', body).is_some() => {
                for value in bound_values(body).unwrap_or_default() {
                    self.read(Some(value));
                }
            }
            Some(_) => {}
            None => self.too_much = true,
        }
    }

    /// Reads a text that may name settings, or begin a backup.
    fn read(&mut self, text: Option<&[u8]>) {
        let Some(text) = text else {
            self.too_much = true;
            return;
        };
        let mut speaks_of_sleep = false;
        dotted_names(text, memchr::memchr_iter(b'.', text), |name| {
            speaks_of_sleep |= name.eq_ignore_ascii_case(KEEP_AWAKE);
            if !self.names.contains(name) {
                match self.names.len() < NAMES_MAX {
                    true => drop(self.names.insert(name.into())),
                    false => self.too_much = true,
                }
            }
        });
        if speaks_of_sleep {
            self.keep_awake = keep_awake(text).or(self.keep_awake);
        }
        self.backup |= begins_backup(text);
    }

    fn backend(&mut self, message: Message) -> Option<Ready> {
        match message.tag {
            messages::tag::READY_FOR_QUERY => {
                let status = message.ready_status?;
                self.lost |= self.outstanding == 0;
                if self.lost {
                    // Never known again to be idle.
                    return None;
                }
                self.outstanding = self.outstanding.saturating_sub(1);
                if self.outstanding == 0 && !self.open {
                    self.copy = Copy::None;
                }
                if self.outstanding > 0 || self.open {
                    // It goes on with what the client has sent ahead.
                    return None;
                }
                let worked = std::mem::take(&mut self.worked);
                // In the middle of a transaction nobody would want it frozen.
                let keep_awake = if status == b'I' { self.keep_awake.take() } else { None };
                return Some(Ready { status, worked, keep_awake });
            }
            tag::COPY_IN_RESPONSE if self.open || !self.simple => {
                self.lost |= self.copy != Copy::None;
                // Those that have been sent are read past.
                self.outstanding = 0;
                self.open = true;
                self.copy = Copy::In;
            }
            messages::tag::ERROR_RESPONSE if self.copy == Copy::In => self.copy = Copy::None,
            tag::COPY_BOTH_RESPONSE => self.lost = true,
            _ => {}
        }
        None
    }
}

fn is_ping(text: &[u8]) -> bool {
    text.len() <= PING_TEXT_MAX_BYTES && ping(text).is_some()
}

/// Whether the text speaks of `pg_backup_start`, or `pg_start_backup` as it was called before PostgreSQL 15: what the
/// session then holds open shows nowhere in 14 and 15.
fn begins_backup(text: &[u8]) -> bool {
    memchr::memchr2_iter(b'k', b'K', text).any(|at| {
        let word = at.checked_sub(3).and_then(|start| text.get(start..start + 6));
        word.is_some_and(|word| word.eq_ignore_ascii_case(b"backup"))
            && text.windows(5).any(|word| word.eq_ignore_ascii_case(b"start"))
    })
}

#[cfg(test)]
mod tests;
