//! The text of SCRAM's messages: `a=value,b=value`.

use super::ScramError;
use crate::frame::MAX_SASL_MESSAGE_LENGTH;

/// The attributes that have not been read yet.
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next attribute, which must have this name.
    pub(super) fn expect(&mut self, name: u8) -> Result<&'a [u8], ScramError> {
        if self.rest.first() != Some(&name) {
            let (name, found) = (char::from(name), printable(self.rest.first()));
            return Err(ScramError::malformed(format!("Expected attribute \"{name}\" but found \"{found}\".")));
        }
        self.value(name)
    }

    /// The next attribute, whatever its name.
    pub(super) fn next(&mut self) -> Result<(u8, &'a [u8]), ScramError> {
        let Some(name) = self.rest.first().copied() else {
            return Err(ScramError::malformed("Attribute expected, but found end of string."));
        };
        if !name.is_ascii_alphabetic() {
            let found = printable(Some(&name));
            let detail = format!("Attribute expected, but found invalid character \"{found}\".");
            return Err(ScramError::Malformed(detail));
        }
        Ok((name, self.value(name)?))
    }

    fn value(&mut self, name: u8) -> Result<&'a [u8], ScramError> {
        let Some(text) = self.rest.get(1..).and_then(|text| text.strip_prefix(b"=")) else {
            let name = char::from(name);
            return Err(ScramError::malformed(format!("Expected character \"=\" for attribute \"{name}\".")));
        };
        let end = text.iter().position(|byte| *byte == b',').unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
        self.rest = rest.strip_prefix(b",").unwrap_or(rest);
        Ok(value)
    }
}

/// What holds for every message of a client, as PostgreSQL checks it before it reads one.
pub(super) fn check_message(message: &[u8]) -> Result<(), ScramError> {
    if message.is_empty() {
        return Err(ScramError::malformed("The message is empty."));
    }
    if message.contains(&0) {
        return Err(ScramError::malformed("Message length does not match input length."));
    }
    if message.len() > MAX_SASL_MESSAGE_LENGTH {
        return Err(ScramError::malformed("The message is too long."));
    }
    Ok(())
}

/// RFC 5802's `printable`: ASCII without blanks, control characters and the comma.
pub(super) fn is_printable(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

/// A byte of the client for an error's detail; nothing that could play tricks with a log.
pub(super) fn printable(byte: Option<&u8>) -> String {
    match byte.copied().unwrap_or(0) {
        byte if byte.is_ascii_graphic() => format!("'{}'", char::from(byte)),
        byte => format!("0x{byte:02x}"),
    }
}
