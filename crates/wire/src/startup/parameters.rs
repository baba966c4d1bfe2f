//! The names and values of a startup packet.

use super::StartupError;
use crate::cursor::Cursor;

/// PostgreSQL itself only bounds the bytes; 10,000 of them could name 3,333 parameters, whose strings would take far
/// more memory than the packet. Clients send about ten.
pub(super) const MAX_STARTUP_PARAMETERS: usize = 128;

/// What PostgreSQL keeps apart for options of the protocol itself; it defines none so far.
const PROTOCOL_OPTION_PREFIX: &str = "_pq_.";

/// A request to begin a session. The major version is always 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// The minor version the client would like: it may be newer than any that exists.
    pub minor: u16,
    /// All parameters in the order they came in, `user` and `database` included, protocol options excluded.
    pub parameters: Vec<(String, String)>,
    /// Names that begin with `_pq_.`: the client must be told that they are not understood.
    pub protocol_options: Vec<String>,
}

impl Startup {
    /// The value of a parameter. A name that comes twice has its last value, as in PostgreSQL.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn parse(minor: u16, mut cursor: Cursor<'_>) -> Result<Self, StartupError> {
        let mut startup = Self { minor, parameters: Vec::new(), protocol_options: Vec::new() };
        loop {
            let name = text(&mut cursor)?;
            if name.is_empty() {
                break;
            }
            startup.add(name, text(&mut cursor)?)?;
        }
        if !cursor.is_empty() {
            return Err(StartupError::InvalidLayout);
        }
        if startup.get("user").is_none_or(str::is_empty) {
            return Err(StartupError::NoUser);
        }
        Ok(startup)
    }

    fn add(&mut self, name: &str, value: &str) -> Result<(), StartupError> {
        if self.parameters.len() + self.protocol_options.len() == MAX_STARTUP_PARAMETERS {
            return Err(StartupError::TooManyParameters);
        }
        if name.starts_with(PROTOCOL_OPTION_PREFIX) {
            self.protocol_options.push(name.to_owned());
        } else {
            self.parameters.push((name.to_owned(), value.to_owned()));
        }
        Ok(())
    }
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, StartupError> {
    let bytes = cursor.c_string().ok_or(StartupError::InvalidLayout)?;
    str::from_utf8(bytes)
        .map_err(|error| StartupError::NotUtf8(bytes.get(error.valid_up_to()).copied().unwrap_or_default()))
}
