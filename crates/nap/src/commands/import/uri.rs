//! A connection URI, without its password: every user of the machine can read the words of the programs that it is given to.

use nap_control::{ImportSource, Variables};

use crate::command_error::CommandError;

/// Variables of libpq's that do not say how to connect.
const OTHERS: [&str; 4] = ["PGDATA", "PGLOCALEDIR", "PGSYSCONFDIR", "PGTZ"];

/// Parameters that everybody could read on a command line.
const SECRETS: [&str; 4] = ["sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"];

/// What is behind a URI. libpq's variables of this process hold, as for every program of PostgreSQL's.
pub(super) fn source(uri: &str, cluster: bool) -> Result<ImportSource, CommandError> {
    let Split { url, password, names_database } = split(uri).ok_or_else(|| {
        CommandError::usage("the URI cannot be read").hint("postgresql://user@host:port/db?name=value, %-encoded")
    })?;
    let mut variables: Vec<(String, String)> =
        std::env::vars().filter(|(name, _)| name.starts_with("PG") && !OTHERS.contains(&name.as_str())).collect();
    if let Some(password) = password {
        variables.retain(|(name, _)| name != "PGPASSWORD");
        variables.push(("PGPASSWORD".to_owned(), password));
    }
    Ok(ImportSource::Url { url, cluster: cluster || !names_database, environment: Variables(variables) })
}

#[derive(Debug, PartialEq, Eq)]
struct Split {
    url: String,
    password: Option<String>,
    names_database: bool,
}

/// As libpq's `conninfo_uri_parse_options` finds them.
fn split(uri: &str) -> Option<Split> {
    let (scheme, rest) = uri.split_once("://")?;
    let (mut password, mut url) = (None, format!("{scheme}://"));
    let at = rest.find(['@', '/']).filter(|at| rest.as_bytes().get(*at) == Some(&b'@'));
    let (login, place) = at.map_or((None, rest), |at| (rest.get(..at), rest.get(at + 1..).unwrap_or_default()));
    if let Some(login) = login {
        let (user, secret) = login.split_once(':').map_or((login, None), |(user, secret)| (user, Some(secret)));
        password = match secret.filter(|secret| !secret.is_empty()) {
            Some(secret) => Some(decoded(secret)?),
            None => None,
        };
        url.push_str(user);
        url.push('@');
    }
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    url.push_str(place);
    let mut names_database = place.split_once('/').is_some_and(|(_, database)| !database.is_empty());
    let mut kept = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        match decoded(name)?.as_str() {
            "password" => password = Some(decoded(value)?),
            // There are no variables for these.
            name if SECRETS.contains(&name) => return None,
            name => {
                names_database |= name == "dbname" && !value.is_empty();
                kept.push(parameter);
            }
        }
    }
    if !kept.is_empty() {
        url.push('?');
        url.push_str(&kept.join("&"));
    }
    Some(Split { url, password, names_database })
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok().filter(|value| *value != 0)?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> (String, Option<String>, bool) {
        let Split { url, password, names_database } = split(uri).unwrap();
        (url, password, names_database)
    }

    #[test]
    fn the_password_is_taken_out() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of("postgresql://al:p%40s@h:1/d"), ("postgresql://al@h:1/d".into(), some("p@s"), true));
        assert_eq!(of("postgres://h"), ("postgres://h".into(), None, false));
        assert_eq!(
            of("postgresql:///?host=/run&password=x%20y&dbname=d"),
            ("postgresql:///?host=/run&dbname=d".into(), some("x y"), true)
        );
        assert_eq!(of("postgresql://u:@h/?a=b"), ("postgresql://u@h/?a=b".into(), None, false));
        assert_eq!(split("postgresql://h/d?sslpassword=x"), None);
        assert_eq!(split("postgresql://u:%zz@h"), None);
    }

    #[test]
    fn odd_texts_are_no_trouble() {
        for text in ["", "@", ":@", "/?", "?&=&", "é:ü@ö/ä?x=%", "a?password", "@@@///???"] {
            let _ = split(&format!("postgresql://{text}"));
        }
    }
}
