//! The extended query protocol: the messages with which a session is asked and restored, and what is read of a
//! client's own.
//!
//! Writers append one whole message. Readers take a message's body; `None` means that it is not what its tag says.

use crate::cursor::Cursor;
use crate::messages::message;

/// Message types, named as in PostgreSQL's protocol.h.
pub mod tag {
    /// A simple query.
    pub const QUERY: u8 = b'Q';
    /// `Parse`: prepare a statement.
    pub const PARSE: u8 = b'P';
    /// `Bind`: make a portal of a prepared statement.
    pub const BIND: u8 = b'B';
    /// `Describe` a statement or a portal.
    pub const DESCRIBE: u8 = b'D';
    /// `Execute` a portal.
    pub const EXECUTE: u8 = b'E';
    /// `Close` a statement or a portal.
    pub const CLOSE: u8 = b'C';
    /// `Sync`: the end of a pipeline.
    pub const SYNC: u8 = b'S';
    /// `Flush`: send what there is.
    pub const FLUSH: u8 = b'H';
    /// The fast path of old: `FunctionCall`.
    pub const FUNCTION_CALL: u8 = b'F';
    /// `CopyDone`, from either side.
    pub const COPY_DONE: u8 = b'c';
    /// `CopyFail`, of the client.
    pub const COPY_FAIL: u8 = b'f';
    /// `CopyInResponse`: the server waits for data.
    pub const COPY_IN_RESPONSE: u8 = b'G';
    /// `CopyBothResponse`: replication begins.
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    /// A row.
    pub const DATA_ROW: u8 = b'D';
    /// A notification.
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    /// A statement was prepared.
    pub const PARSE_COMPLETE: u8 = b'1';
    /// A portal was made.
    pub const BIND_COMPLETE: u8 = b'2';
    /// A statement or portal was closed.
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// No row comes: the statement returns none.
    pub const NO_DATA: u8 = b'n';
    /// The types of a statement's parameters.
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// The columns that will come.
    pub const ROW_DESCRIPTION: u8 = b'T';
    /// A command is done.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// The query was empty.
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
}

/// Statement or portal, in `Describe` and `Close`.
const STATEMENT: u8 = b'S';

/// Appends `Parse`. `name` and `text` are in the session's client encoding and hold no NUL.
pub fn parse(out: &mut Vec<u8>, name: &[u8], text: &[u8], parameter_types: &[u32]) {
    message(out, tag::PARSE, |out| {
        put_bytes(out, name);
        put_bytes(out, text);
        put_count(out, parameter_types.len());
        for oid in parameter_types {
            out.extend_from_slice(&oid.to_be_bytes());
        }
    });
}

/// Appends `Bind` of the unnamed portal to a statement: parameters and results as text.
pub fn bind(out: &mut Vec<u8>, statement: &[u8], parameters: &[&[u8]]) {
    message(out, tag::BIND, |out| {
        put_bytes(out, b"");
        put_bytes(out, statement);
        put_count(out, 0);
        put_count(out, parameters.len());
        for parameter in parameters {
            out.extend_from_slice(&u32::try_from(parameter.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(parameter);
        }
        put_count(out, 0);
    });
}

/// Appends `Execute` of the unnamed portal, all rows of it.
pub fn execute(out: &mut Vec<u8>) {
    message(out, tag::EXECUTE, |out| {
        put_bytes(out, b"");
        out.extend_from_slice(&[0; 4]);
    });
}

/// Appends `Close` of a statement. One that does not exist is no error.
pub fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    message(out, tag::CLOSE, |out| {
        out.push(STATEMENT);
        put_bytes(out, name);
    });
}

/// Appends `Describe` of a statement.
pub fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    message(out, tag::DESCRIBE, |out| {
        out.push(STATEMENT);
        put_bytes(out, name);
    });
}

/// Appends a simple `Query`. It destroys the unnamed statement.
pub fn query(out: &mut Vec<u8>, text: &[u8]) {
    message(out, tag::QUERY, |out| put_bytes(out, text));
}

/// Appends `Sync`.
pub fn sync(out: &mut Vec<u8>) {
    message(out, tag::SYNC, |_| {});
}

/// Appends `Terminate`.
pub fn terminate(out: &mut Vec<u8>) {
    message(out, crate::messages::tag::TERMINATE, |_| {});
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().filter(|byte| **byte != 0));
    out.push(0);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

/// The columns of a `DataRow`; `None` inside is NULL.
pub fn parse_data_row(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let mut cursor = Cursor::new(body);
    let count = cursor.u16()?;
    let columns = (0..count).map(|_| match cursor.i32()? {
        -1 => Some(None),
        bytes => cursor.bytes(usize::try_from(bytes).ok()?).map(Some),
    });
    columns.collect()
}

/// What a `Parse` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The statement.
    pub text: &'a [u8],
    /// How many of its parameters are given a type.
    pub typed_parameters: u16,
}

/// Reads `Parse`.
pub fn parse_parse(body: &[u8]) -> Option<Parse<'_>> {
    let mut cursor = Cursor::new(body);
    let parse = Parse { name: cursor.c_string()?, text: cursor.c_string()?, typed_parameters: cursor.u16()? };
    (cursor.rest().len() == usize::from(parse.typed_parameters) * 4).then_some(parse)
}

/// What a `Bind` without parameters says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarelyBound<'a> {
    /// The portal's name.
    pub portal: &'a [u8],
    /// The statement's name.
    pub statement: &'a [u8],
    /// The formats of the results: none, one for all, or one for each column.
    pub result_formats: Vec<u16>,
}

/// Reads `Bind`, if it binds no parameter.
pub fn parse_bare_bind(body: &[u8]) -> Option<BarelyBound<'_>> {
    let mut cursor = Cursor::new(body);
    let (portal, statement) = (cursor.c_string()?, cursor.c_string()?);
    for _ in 0..cursor.u16()? {
        cursor.u16()?;
    }
    if cursor.u16()? != 0 {
        return None;
    }
    let formats: Option<Vec<u16>> = (0..cursor.u16()?).map(|_| cursor.u16()).collect();
    cursor.is_empty().then_some(BarelyBound { portal, statement, result_formats: formats? })
}

/// The values that a `Bind` gives its parameters, as they are written in it; NULL ones are left out.
pub fn bound_values(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut cursor = Cursor::new(body);
    cursor.c_string()?;
    cursor.c_string()?;
    for _ in 0..cursor.u16()? {
        cursor.u16()?;
    }
    let mut values = Vec::new();
    for _ in 0..cursor.u16()? {
        if let Ok(bytes) = usize::try_from(cursor.i32()?) {
            values.push(cursor.bytes(bytes)?);
        }
    }
    Some(values)
}

/// What a `Describe` or `Close` is about: `S` or `P`, and its name.
pub fn parse_target(body: &[u8]) -> Option<(u8, &[u8])> {
    let mut cursor = Cursor::new(body);
    let target = (cursor.u8()?, cursor.c_string()?);
    cursor.is_empty().then_some(target)
}

/// What an `Execute` says: the portal, and how many rows it may return; 0: all.
pub fn parse_execute(body: &[u8]) -> Option<(&[u8], u32)> {
    let mut cursor = Cursor::new(body);
    let execute = (cursor.c_string()?, cursor.u32()?);
    cursor.is_empty().then_some(execute)
}

/// The text of a simple query.
pub fn parse_query(body: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::new(body);
    let text = cursor.c_string()?;
    cursor.is_empty().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::parse_frame;
    use bytes::BytesMut;
    use postgres_protocol::message::frontend;
    use proptest::prelude::*;

    fn body(bytes: &[u8], tag: u8) -> &[u8] {
        let (frame, used) = parse_frame(bytes, bytes.len()).unwrap().unwrap();
        assert_eq!((frame.tag, used), (tag, bytes.len()));
        frame.body
    }

    #[test]
    fn another_client_writes_the_same() {
        let (mut ours, mut theirs) = (Vec::new(), BytesMut::new());
        parse(&mut ours, b"_nap_1", b"SELECT $1", &[25, 23]);
        frontend::parse("_nap_1", "SELECT $1", [25, 23], &mut theirs).unwrap();
        bind(&mut ours, b"_nap_1", &[b"{a}"]);
        let bound = frontend::bind(
            "",
            "_nap_1",
            [],
            ["{a}"],
            |value, out| {
                out.extend_from_slice(value.as_bytes());
                Ok(postgres_protocol::IsNull::No)
            },
            [],
            &mut theirs,
        );
        assert!(bound.is_ok());
        execute(&mut ours);
        frontend::execute("", 0, &mut theirs).unwrap();
        close_statement(&mut ours, b"_nap_1");
        frontend::close(b'S', "_nap_1", &mut theirs).unwrap();
        sync(&mut ours);
        frontend::sync(&mut theirs);
        terminate(&mut ours);
        frontend::terminate(&mut theirs);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn what_another_client_writes_is_read() {
        let mut theirs = BytesMut::new();
        frontend::parse("s", "SELECT 1", [23], &mut theirs).unwrap();
        let expected = Parse { name: b"s", text: b"SELECT 1", typed_parameters: 1 };
        assert_eq!(parse_parse(body(&theirs, b'P')), Some(expected));
        theirs.clear();
        let no = std::iter::empty::<&str>;
        let _ = frontend::bind("p", "s", [], no(), |_, _| Ok(postgres_protocol::IsNull::Yes), [1], &mut theirs);
        let expected = BarelyBound { portal: b"p", statement: b"s", result_formats: vec![1] };
        assert_eq!(parse_bare_bind(body(&theirs, b'B')), Some(expected));
        theirs.clear();
        let _ = frontend::bind(
            "",
            "",
            [],
            ["my.var", "x"],
            |value, out| {
                out.extend_from_slice(value.as_bytes());
                Ok(postgres_protocol::IsNull::No)
            },
            [1],
            &mut theirs,
        );
        assert_eq!(parse_bare_bind(body(&theirs, b'B')), None);
        assert_eq!(bound_values(body(&theirs, b'B')), Some(vec![b"my.var".as_slice(), b"x"]));
        theirs.clear();
        frontend::query("SELECT 1", &mut theirs).unwrap();
        assert_eq!(parse_query(body(&theirs, b'Q')), Some(b"SELECT 1".as_slice()));
        theirs.clear();
        frontend::describe(b'P', "p", &mut theirs).unwrap();
        assert_eq!(parse_target(body(&theirs, b'D')), Some((b'P', b"p".as_slice())));
        theirs.clear();
        frontend::execute("p", 1, &mut theirs).unwrap();
        assert_eq!(parse_execute(body(&theirs, b'E')), Some((b"p".as_slice(), 1)));
    }

    #[test]
    fn rows_are_read() {
        let row = b"\0\x03\0\0\0\x01a\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(parse_data_row(row), Some(vec![Some(b"a".as_slice()), None, Some(b"")]));
        assert_eq!(parse_data_row(b"\0\x01\0\0\0\x02a"), None);
        assert_eq!(parse_data_row(b"\0\x01\xff\xff\xff\xfe"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_data_row(&bytes);
            let _ = parse_parse(&bytes);
            let _ = parse_bare_bind(&bytes);
            let _ = bound_values(&bytes);
            let _ = parse_target(&bytes);
            let _ = parse_execute(&bytes);
            let _ = parse_query(&bytes);
        }
    }
}
