//! SQL as PostgreSQL's scanner (scan.l) cuts it, as far as is needed to know where a statement ends.

/// A piece of a text between white space and comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword or an identifier without quotes.
    Word(&'a [u8]),
    /// Digits.
    Number(&'a [u8]),
    Semicolon,
    /// Strings, quoted identifiers, operators, parameters.
    Other,
}

pub(super) struct Lexer<'a> {
    rest: &'a [u8],
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn goes_on_in_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

fn is_space(byte: u8) -> bool {
    // Without \v: it is white space from PostgreSQL 16 on only.
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c)
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// The next token, `Some(None)` at the end; `None` if the text cannot be read, or in two ways.
    pub(super) fn next_token(&mut self) -> Option<Option<Token<'a>>> {
        self.skip_space()?;
        let Some(first) = self.rest.first().copied() else { return Some(None) };
        Some(Some(match first {
            b';' => {
                self.take(1);
                Token::Semicolon
            }
            b'\'' => self.string(false)?,
            b'"' => self.quoted_identifier()?,
            b'$' => self.dollar()?,
            b'0'..=b'9' => Token::Number(self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'.')),
            _ if begins_word(first) => {
                let word = self.take_while(goes_on_in_word);
                match (word, self.rest.first()) {
                    ([b'e' | b'E'], Some(b'\'')) => self.string(true)?,
                    // What U& strings escape with is said after them; in none can a quote be escaped but by a quote.
                    _ => Token::Word(word),
                }
            }
            _ => {
                self.take(1);
                Token::Other
            }
        }))
    }

    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, goes_on: impl Fn(u8) -> bool) -> &'a [u8] {
        let bytes = self.rest.iter().position(|byte| !goes_on(*byte)).unwrap_or(self.rest.len());
        self.take(bytes)
    }

    fn skip_space(&mut self) -> Option<()> {
        loop {
            self.take_while(is_space);
            if self.rest.starts_with(b"--") {
                self.take_while(|byte| byte != b'\n' && byte != b'\r');
            } else if self.rest.starts_with(b"/*") {
                self.block_comment()?;
            } else {
                return Some(());
            }
        }
    }

    /// They nest.
    fn block_comment(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            if self.rest.starts_with(b"/*") {
                depth += 1;
                self.take(2);
            } else if self.rest.starts_with(b"*/") {
                depth -= 1;
                self.take(2);
                if depth == 0 {
                    return Some(());
                }
            } else {
                self.rest.first()?;
                self.take(1);
            }
        }
    }

    /// `escapes`: a backslash keeps the next byte from being read. Where that is a matter of a setting it is an error.
    /// A string that goes on in the next line is two tokens here, which does no harm.
    fn string(&mut self, escapes: bool) -> Option<Token<'a>> {
        self.take(1);
        loop {
            match self.take(1).first()? {
                b'\'' if self.rest.first() == Some(&b'\'') => drop(self.take(1)),
                b'\'' => return self.not_continued(escapes),
                b'\\' if escapes => drop(self.take(1)),
                b'\\' => return None,
                _ => {}
            }
        }
    }

    /// `E'a'` NEWLINE `'b\''`: the second part is read as the first was, which a token of its own would not be.
    fn not_continued(&mut self, escapes: bool) -> Option<Token<'a>> {
        let mut ahead = Lexer { rest: self.rest };
        ahead.skip_space()?;
        let continued = ahead.rest.first() == Some(&b'\'') && ahead.rest.len() < self.rest.len();
        (!(escapes && continued)).then_some(Token::Other)
    }

    fn quoted_identifier(&mut self) -> Option<Token<'a>> {
        self.take(1);
        loop {
            if self.take(1).first()? == &b'"' {
                // Two in a row are one inside: read as two identifiers side by side, the end is the same.
                return Some(Token::Other);
            }
        }
    }

    /// A string between `$tag$`, or a parameter.
    fn dollar(&mut self) -> Option<Token<'a>> {
        let after = self.rest.get(1..).unwrap_or_default();
        let tag_bytes = match after.first() {
            Some(byte) if begins_word(*byte) => {
                after.iter().position(|byte| !goes_on_in_word(*byte) || *byte == b'$').unwrap_or(after.len())
            }
            _ => 0,
        };
        if after.get(tag_bytes) != Some(&b'$') {
            self.take(1);
            return Some(Token::Other);
        }
        let delimiter = self.take(tag_bytes + 2);
        while !self.rest.starts_with(delimiter) {
            self.rest.first()?;
            self.take(1);
        }
        self.take(delimiter.len());
        Some(Token::Other)
    }
}
