//! Answering pings in a server's stead: an empty query and `SELECT 1`, simple and extended, with the bytes that
//! PostgreSQL answers with.

use crate::extended::{parse_bare_bind, parse_execute, parse_parse, parse_query, parse_target, tag};
use crate::frame::{Frame, parse_frame};
use crate::messages::{self, message};
use crate::sql::{PingText, ping};

/// What a ping, with all the messages of its pipeline, may take: the longest that drivers send take 100.
pub const PING_MAX_BYTES: usize = 1024;

/// `INT4OID` of PostgreSQL's pg_type.dat.
const INT4_OID: u32 = 23;
const INT4_BYTES: u16 = 4;
const FORMAT_TEXT: u16 = 0;
const FORMAT_BINARY: u16 = 1;

/// What became of the unnamed statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnnamedAfter<'a> {
    /// It is what it was.
    Unchanged,
    /// There is none any more.
    Gone,
    /// It is what this body of a `Parse` says.
    Parsed(&'a [u8]),
}

/// What a client's bytes are.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// They may become a ping; more are to come.
    Unfinished,
    /// A ping, answered.
    Answered {
        /// So many of the bytes it took.
        used: usize,
        /// What became of the unnamed statement.
        unnamed: UnnamedAfter<'a>,
    },
    /// Something for a server.
    Other,
}

/// What was bound.
struct Portal {
    text: PingText,
    format: u16,
    executed: bool,
}

/// A pipeline under way.
struct Pipeline<'a, S> {
    statement: S,
    unnamed: UnnamedAfter<'a>,
    portal: Option<Portal>,
}

/// Answers the ping at the front of `bytes`, appending to `out` what PostgreSQL would answer. `statement` tells which
/// ping a prepared statement of the session is, the unnamed one by an empty name; `None` if it is none.
pub fn answer<'a>(bytes: &'a [u8], statement: impl Fn(&[u8]) -> Option<PingText>, out: &mut Vec<u8>) -> Verdict<'a> {
    let start = out.len();
    let mut pipeline = Pipeline { statement, unnamed: UnnamedAfter::Unchanged, portal: None };
    let mut used = 0;
    loop {
        let rest = bytes.get(used..).unwrap_or_default();
        let known = rest.first().is_none_or(|tag| b"QPBDECS".contains(tag));
        let verdict = match parse_frame(rest, PING_MAX_BYTES) {
            Ok(Some((frame, frame_bytes))) if known => {
                let simple = frame.tag == tag::QUERY && used == 0;
                used += frame_bytes;
                match if simple { query(frame, &mut pipeline, out) } else { pipeline.follow(frame, out) } {
                    Some(false) => continue,
                    Some(true) => Verdict::Answered { used, unnamed: pipeline.unnamed },
                    None => Verdict::Other,
                }
            }
            Ok(None) if known && bytes.len() < PING_MAX_BYTES => Verdict::Unfinished,
            _ => Verdict::Other,
        };
        if !matches!(verdict, Verdict::Answered { .. }) {
            out.truncate(start);
        }
        return verdict;
    }
}

/// `Some(true)`: answered.
fn query<S>(frame: Frame<'_>, pipeline: &mut Pipeline<'_, S>, out: &mut Vec<u8>) -> Option<bool> {
    let text = ping(parse_query(frame.body)?)?;
    pipeline.unnamed = UnnamedAfter::Gone;
    if text == PingText::SelectOne {
        row_description(out, FORMAT_TEXT);
    }
    result(out, text, FORMAT_TEXT);
    messages::ready_for_query(out, b'I');
    Some(true)
}

impl<'a, S: Fn(&[u8]) -> Option<PingText>> Pipeline<'a, S> {
    /// Follows a message of the extended protocol. `Some(true)`: it was the last of its pipeline; `None`: not for us.
    fn follow(&mut self, frame: Frame<'a>, out: &mut Vec<u8>) -> Option<bool> {
        match frame.tag {
            tag::PARSE => {
                let parse = parse_parse(frame.body).filter(|p| p.name.is_empty() && p.typed_parameters == 0)?;
                ping(parse.text)?;
                self.unnamed = UnnamedAfter::Parsed(frame.body);
                message(out, tag::PARSE_COMPLETE, |_| {});
            }
            tag::BIND => {
                let bound = parse_bare_bind(frame.body).filter(|bound| bound.portal.is_empty())?;
                let text = self.prepared(bound.statement)?;
                let format = match (text, bound.result_formats.as_slice()) {
                    (_, []) => FORMAT_TEXT,
                    (_, [format @ (FORMAT_TEXT | FORMAT_BINARY)]) => *format,
                    _ => return None,
                };
                self.portal = Some(Portal { text, format, executed: false });
                message(out, tag::BIND_COMPLETE, |_| {});
            }
            tag::DESCRIBE => self.describe(parse_target(frame.body)?, out)?,
            tag::EXECUTE => {
                // With room for one row PostgreSQL does not look whether there is another one.
                let (_, _) = parse_execute(frame.body).filter(|(name, rows)| name.is_empty() && *rows != 1)?;
                let portal = self.portal.as_mut().filter(|portal| !portal.executed)?;
                portal.executed = true;
                result(out, portal.text, portal.format);
            }
            tag::CLOSE => {
                match parse_target(frame.body)? {
                    (b'S', b"") => self.unnamed = UnnamedAfter::Gone,
                    (b'P', b"") => self.portal = None,
                    _ => return None,
                }
                message(out, tag::CLOSE_COMPLETE, |_| {});
            }
            tag::SYNC => {
                messages::ready_for_query(out, b'I');
                return Some(true);
            }
            _ => return None,
        }
        Some(false)
    }

    fn prepared(&self, name: &[u8]) -> Option<PingText> {
        match self.unnamed {
            UnnamedAfter::Gone if name.is_empty() => None,
            UnnamedAfter::Parsed(body) if name.is_empty() => ping(parse_parse(body)?.text),
            _ => (self.statement)(name),
        }
    }

    fn describe(&self, target: (u8, &[u8]), out: &mut Vec<u8>) -> Option<()> {
        let (text, format) = match target {
            (b'S', name) => {
                let text = self.prepared(name)?;
                message(out, tag::PARAMETER_DESCRIPTION, |out| out.extend_from_slice(&[0; 2]));
                (text, FORMAT_TEXT)
            }
            (b'P', b"") => self.portal.as_ref().map(|portal| (portal.text, portal.format))?,
            _ => return None,
        };
        match text {
            PingText::SelectOne => row_description(out, format),
            PingText::Empty => message(out, tag::NO_DATA, |_| {}),
        }
        Some(())
    }
}

fn row_description(out: &mut Vec<u8>, format: u16) {
    message(out, tag::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(&1_u16.to_be_bytes());
        out.extend_from_slice(b"?column?\0");
        // Of no table and no column of one.
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&INT4_OID.to_be_bytes());
        out.extend_from_slice(&INT4_BYTES.to_be_bytes());
        // No type modifier.
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        out.extend_from_slice(&format.to_be_bytes());
    });
}

fn result(out: &mut Vec<u8>, text: PingText, format: u16) {
    if text == PingText::Empty {
        return message(out, tag::EMPTY_QUERY_RESPONSE, |_| {});
    }
    let one: &[u8] = if format == FORMAT_BINARY { &[0, 0, 0, 1] } else { b"1" };
    message(out, tag::DATA_ROW, |out| {
        out.extend_from_slice(&1_u16.to_be_bytes());
        out.extend_from_slice(&u32::try_from(one.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(one);
    });
    message(out, tag::COMMAND_COMPLETE, |out| out.extend_from_slice(b"SELECT 1\0"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extended::{bind, close_statement, execute, parse, sync};
    use proptest::prelude::*;

    fn simple(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, tag::QUERY, |out| out.extend_from_slice(format!("{text}\0").as_bytes()));
        out
    }

    fn none(_: &[u8]) -> Option<PingText> {
        None
    }

    #[test]
    fn a_simple_ping_is_answered_when_it_is_whole() {
        let bytes = simple("SELECT 1");
        for cut in 0..bytes.len() {
            assert_eq!(answer(&bytes[..cut], none, &mut Vec::new()), Verdict::Unfinished);
        }
        let mut out = Vec::new();
        let more = [bytes.as_slice(), b"Q"].concat();
        assert_eq!(answer(&more, none, &mut out), Verdict::Answered { used: bytes.len(), unnamed: UnnamedAfter::Gone });
        assert_eq!(
            out,
            b"T\0\0\0\x21\0\x01?column?\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0D\0\0\0\x0b\0\x01\0\0\0\x011C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I"
        );
        out.clear();
        assert!(matches!(answer(&simple("/* e */"), none, &mut out), Verdict::Answered { .. }));
        assert_eq!(out, b"I\0\0\0\x04Z\0\0\0\x05I");
    }

    #[test]
    fn an_extended_ping_changes_the_unnamed_statement() {
        let mut bytes = Vec::new();
        parse(&mut bytes, b"", b"SELECT 1", &[]);
        let body = bytes[5..].to_vec();
        bind(&mut bytes, b"", &[]);
        execute(&mut bytes);
        assert_eq!(answer(&bytes, none, &mut Vec::new()), Verdict::Unfinished);
        sync(&mut bytes);
        let mut out = Vec::new();
        let expected = Verdict::Answered { used: bytes.len(), unnamed: UnnamedAfter::Parsed(&body) };
        assert_eq!(answer(&bytes, none, &mut out), expected);
        assert_eq!(out, b"1\0\0\0\x042\0\0\0\x04D\0\0\0\x0b\0\x01\0\0\0\x011C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I");
        bytes.clear();
        close_statement(&mut bytes, b"");
        bind(&mut bytes, b"", &[]);
        sync(&mut bytes);
        assert_eq!(
            answer(&bytes, |_| Some(PingText::Empty), &mut out),
            Verdict::Other,
            "an error is the server's to say"
        );
    }

    #[test]
    fn a_statement_that_is_known_can_be_bound() {
        let mut bytes = Vec::new();
        bind(&mut bytes, b"s1", &[]);
        execute(&mut bytes);
        sync(&mut bytes);
        let known = |name: &[u8]| (name == b"s1").then_some(PingText::SelectOne);
        let expected = Verdict::Answered { used: bytes.len(), unnamed: UnnamedAfter::Unchanged };
        assert_eq!(answer(&bytes, known, &mut Vec::new()), expected);
        assert_eq!(answer(&bytes, none, &mut Vec::new()), Verdict::Other);
    }

    #[test]
    fn the_rest_is_for_a_server() {
        let mut limited = Vec::new();
        parse(&mut limited, b"", b"SELECT 1", &[]);
        bind(&mut limited, b"", &[]);
        message(&mut limited, tag::EXECUTE, |out| out.extend_from_slice(b"\0\0\0\0\x01"));
        sync(&mut limited);
        let mut twice = Vec::new();
        bind(&mut twice, b"s", &[]);
        execute(&mut twice);
        execute(&mut twice);
        sync(&mut twice);
        for bytes in [
            limited,
            twice,
            simple("SELECT 2"),
            b"X\0\0\0\x04".to_vec(),
            b"Q\0\0\x10\0".to_vec(),
            b"Q\0\0\0\0".to_vec(),
        ] {
            let mut out = b"before".to_vec();
            assert_eq!(answer(&bytes, |_| Some(PingText::SelectOne), &mut out), Verdict::Other, "{bytes:?}");
            assert_eq!(out, b"before");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(prop::sample::select(b"QPBDECSX\0\x04\x05\x08\x01 ;1".to_vec()), 0..60)) {
            let _ = answer(&bytes, |_| Some(PingText::SelectOne), &mut Vec::new());
        }
    }
}
