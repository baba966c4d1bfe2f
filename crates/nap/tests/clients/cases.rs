//! The cases: the same ones for all clients.

/// A case, and what it shows.
pub(crate) struct Case {
    /// Its name, in requests, tables and reports.
    pub(crate) name: &'static str,
    /// For the table: what works.
    pub(crate) says: &'static str,
}

const fn case(name: &'static str, says: &'static str) -> Case {
    Case { name, says }
}

/// All of them, in the order in which they are played.
pub(crate) const CASES: &[Case] = &[
    case("database_name", "branch in the database name (`postgres@feat`)"),
    case("user_name", "branch in the user name (`alice@feat`)"),
    case("option", "branch by `options`: `-c nap.branch=feat`"),
    case("endpoint", "branch by `options`: `endpoint=feat`"),
    case("parameter", "branch by a startup parameter `branch`"),
    case("own_port", "the branch's own port"),
    case("own_socket", "the branch's own socket directory"),
    case("server_name", "branch in the host's name (`feat.localhost`, TLS with SNI)"),
    case("unix_socket", "the Unix socket of all branches, without a password"),
    case("verify_full", "TLS with `sslmode=verify-full`, or what the client has for it"),
    case("channel_binding", "TLS with SCRAM bound to the channel, required"),
    case("url", "the URL that `nap url` prints"),
    case("url_verify", "the URL that `nap url --verify` prints"),
    case("url_percent", "a URL with percent-encoded role and password"),
    case("url_percent_database", "a URL with a percent-encoded database and branch"),
    case("keywords", "a string of keywords and values, or a JDBC URL"),
    case("environment", "the environment variables of `nap env --tools`"),
    case("asleep", "while the server is asleep"),
    case("waking", "while the server is waking"),
    case("awake", "while the server is awake"),
    case("cancel", "a query is cancelled, and the session goes on"),
    case("copy", "COPY in and out"),
    case("pipeline", "many queries sent before the first answer is read"),
    case("large", "a result of 100 MB, read in parts"),
    case("error", "SQLSTATE, message, detail and hint of an error"),
    case("wrong_password", "a wrong password is told from other errors"),
    case("unknown_branch", "a branch that does not exist is told, with the nearest name"),
    case("default_branch", "no branch named: the default one"),
];
