//! Values quoted for where they go: a URL, a shell, a dotenv file.

/// Bytes that stand in a URL for themselves (RFC 3986's unreserved).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Percent-encodes everything but unreserved bytes and those of `also`.
pub(crate) fn percent(text: &str, also: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) || also.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Characters that no shell and no dotenv reader gives a meaning.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/:@%+,=".contains(&byte))
}

/// One word of a POSIX shell.
pub(crate) fn shell(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A value of a dotenv file: in single quotes, where every reader takes it as it is; with one inside, in double
/// quotes.
pub(crate) fn dotenv(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else if !text.contains(['\'', '\n']) {
        format!("'{text}'")
    } else {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('\n', "\\n");
        format!("\"{escaped}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_at_may_stand_where_it_is_let() {
        assert_eq!(percent("shop@dev", b"@"), "shop@dev");
        assert_eq!(percent("a b/ä@:%", b""), "a%20b%2F%C3%A4%40%3A%25");
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for text in ["plain", "", "two words", "it's", "$HOME `x` \\ \"q\"", "a\nb", "*", "~"] {
            let script = format!("printf %s {}", shell(text));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }

    #[test]
    fn dotenv_values_are_quoted_only_when_they_must() {
        assert_eq!(dotenv("/run/main"), "/run/main");
        assert_eq!(dotenv("a b$c"), "'a b$c'");
        assert_eq!(dotenv("it's $5"), r#""it's \$5""#);
    }
}
