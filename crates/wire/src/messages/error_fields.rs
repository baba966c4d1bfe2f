//! What an error tells: the fields of `ErrorResponse` that are ours to write and worth reading.

use super::{tag, write::message};
use crate::cursor::{Cursor, put_c_string};
use std::borrow::Cow;

/// The fields of an error or a notice; places in PostgreSQL's source, in the query or the catalog are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFields {
    /// `FATAL`, `ERROR`, `WARNING` …: never translated.
    pub severity: Cow<'static, str>,
    /// Five characters that name the condition.
    pub sqlstate: String,
    /// What happened, in one line.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ErrorFields {
    /// An error that ends the connection.
    pub fn fatal(sqlstate: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Cow::Borrowed("FATAL"),
            sqlstate: sqlstate.into(),
            message: message.into(),
            detail: None,
            hint: None,
        }
    }
}

/// Appends `ErrorResponse`.
pub fn error_response(out: &mut Vec<u8>, fields: &ErrorFields) {
    message(out, tag::ERROR_RESPONSE, |out| {
        let detail = fields.detail.as_deref().map(|detail| (b'D', detail));
        let hint = fields.hint.as_deref().map(|hint| (b'H', hint));
        let always = [
            (b'S', fields.severity.as_ref()),
            (b'V', fields.severity.as_ref()),
            (b'C', fields.sqlstate.as_str()),
            (b'M', fields.message.as_str()),
        ];
        for (code, text) in always.into_iter().chain(detail).chain(hint) {
            out.push(code);
            put_c_string(out, text);
        }
        out.push(0);
    });
}

/// Reads the body of `ErrorResponse` or `NoticeResponse`. What is missing stays empty, what cannot be read ends it: an
/// error about an error helps nobody. Text in another encoding than UTF-8 is made readable.
pub fn parse_error_response(body: &[u8]) -> ErrorFields {
    let mut fields = ErrorFields::fatal("", "");
    fields.severity = Cow::Borrowed("");
    let mut translated_severity = String::new();
    let mut cursor = Cursor::new(body);
    while let Some(code) = cursor.u8().filter(|code| *code != 0) {
        let Some(bytes) = cursor.c_string() else { break };
        let text = String::from_utf8_lossy(bytes).into_owned();
        match code {
            b'S' => translated_severity = text,
            b'V' => fields.severity = Cow::Owned(text),
            b'C' => fields.sqlstate = text,
            b'M' => fields.message = text,
            b'D' => fields.detail = Some(text),
            b'H' => fields.hint = Some(text),
            _ => {}
        }
    }
    if fields.severity.is_empty() {
        fields.severity = Cow::Owned(translated_severity);
    }
    fields
}
