//! A line as PostgreSQL divides it: fields between blanks, each a list of tokens between commas.

use std::iter::Peekable;
use std::str::Chars;

/// A word of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    /// It began with a quote: then it is no keyword, no group and no file.
    pub(super) quoted: bool,
}

impl Token {
    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }

    /// What stands behind this sign, if the token means something special by it.
    pub(super) fn behind(&self, sign: char) -> Option<&str> {
        self.text.strip_prefix(sign).filter(|_| !self.quoted)
    }
}

/// Tokens between commas; never empty.
pub(super) type Field = Vec<Token>;

/// The fields of a line, without its comment.
pub(super) fn fields(line: &str) -> Vec<Field> {
    let mut rest = line.chars().peekable();
    let mut fields = Vec::new();
    while rest.peek().is_some() {
        let mut field = Vec::new();
        while let Some((token, comma_follows)) = next_token(&mut rest) {
            field.push(token);
            if !comma_follows {
                break;
            }
        }
        if !field.is_empty() {
            fields.push(field);
        }
    }
    fields
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

/// The next token, and whether a comma follows it at once. A quote that is not closed reaches to the end of the line, as
/// with PostgreSQL.
fn next_token(rest: &mut Peekable<Chars<'_>>) -> Option<(Token, bool)> {
    while rest.next_if(|c| is_blank(*c) || *c == ',').is_some() {}
    let mut token = Token::default();
    let (mut in_quotes, mut was_quote, mut saw_quote, mut comma_follows) = (false, false, false, false);
    while let Some(&c) = rest.peek() {
        if !in_quotes {
            if c == '#' {
                rest.by_ref().for_each(drop);
                break;
            }
            comma_follows = c == ',';
            if comma_follows || is_blank(c) {
                break;
            }
        }
        rest.next();
        // Two quotes in a row, within quotes, are one that is meant.
        if c != '"' || was_quote {
            token.text.push(c);
        }
        was_quote = c == '"' && in_quotes && !was_quote;
        if c == '"' {
            in_quotes = !in_quotes;
            saw_quote = true;
            token.quoted |= token.text.is_empty();
        }
    }
    (saw_quote || !token.text.is_empty()).then_some((token, comma_follows))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields between blanks, tokens between commas; a quoted one has a `'` in front.
    fn divided(line: &str) -> String {
        let token = |token: &Token| format!("{}{}", if token.quoted { "'" } else { "" }, token.text);
        let field = |field: &Field| field.iter().map(token).collect::<Vec<_>>().join(",");
        fields(line).iter().map(field).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn divides_as_postgresql_does() {
        for (line, expected) in [
            ("host all\tall  10.0.0.0/8 trust\r", "host|all|all|10.0.0.0/8|trust"),
            ("a,b, c ,d", "a,b,c|d"),
            (",,a,,b", "a,b"),
            ("a# b", "a"),
            ("  # nothing", ""),
            ("\"a b\",c \"all\" all\"\"", "'a b,c|'all|all"),
            ("\"a\"\"b\" x\"y z\"w", "'a\"b|xy zw"),
            ("\"open # to the end", "'open # to the end"),
            ("\"\" b", "'|b"),
            ("@\"a file\" \"@no file\"", "@a file|'@no file"),
            ("map=\"x y\",clientcert=verify-ca", "map=x y,clientcert=verify-ca"),
            ("ä,\u{a0}b", "ä,\u{a0}b"),
        ] {
            assert_eq!(divided(line), expected, "{line}");
        }
    }
}
