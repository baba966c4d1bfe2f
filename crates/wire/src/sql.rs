//! The little that is read of SQL texts: whether one is a ping, whether one is a single PREPARE, and which dotted
//! names it holds. Where a text can be read in two ways the answer is no.

mod keep_awake;
mod lexer;
mod names;

use lexer::{Lexer, Token};

pub use keep_awake::{KEEP_AWAKE, keep_awake};
pub use names::dotted_names;

/// A text that asks for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingText {
    /// No statement at all.
    Empty,
    /// `SELECT 1`.
    SelectOne,
}

/// The ping that a text is: nothing, or `SELECT 1` in any case, with any spaces, comments and semicolons around it.
/// Texts outside ASCII are none: how they are read depends on an encoding.
pub fn ping(text: &[u8]) -> Option<PingText> {
    if !text.is_ascii() {
        return None;
    }
    let mut lexer = Lexer::new(text);
    let mut words = Vec::with_capacity(2);
    let mut over = false;
    while let Some(token) = lexer.next_token()? {
        match token {
            Token::Semicolon => over = true,
            // `; SELECT 1` is one statement too, but nobody writes it.
            _ if over || words.len() == 2 => return None,
            Token::Word(word) | Token::Number(word) => words.push(word),
            Token::Other => return None,
        }
    }
    match words.as_slice() {
        [] => Some(PingText::Empty),
        [select, b"1"] if select.eq_ignore_ascii_case(b"select") => Some(PingText::SelectOne),
        _ => None,
    }
}

/// Whether the text is one PREPARE and nothing else, however it is read: a backslash in an ordinary string means one
/// thing or another by a setting. The text is in a server's encoding, which is a superset of ASCII byte by byte.
pub fn is_single_prepare(text: &[u8]) -> bool {
    let mut lexer = Lexer::new(text);
    let (mut first, mut over) = (true, false);
    loop {
        match lexer.next_token() {
            None => return false,
            Some(None) => return !first,
            Some(Some(Token::Word(word))) if first && word.eq_ignore_ascii_case(b"prepare") => first = false,
            Some(Some(Token::Semicolon)) if !first => over = true,
            Some(Some(_)) if first || over => return false,
            Some(Some(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests;
