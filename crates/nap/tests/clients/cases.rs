//! The cases: the same ones for all clients.

/// What a connection goes over. `pg_hba.conf` of the stage lets a role of its own in over each, and that one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP in the clear, with SCRAM.
    Tcp,
    /// TLS with `sslmode=verify-full`, or what the client has for it, and SCRAM.
    Tls,
    /// A Unix socket, without a password.
    Socket,
}

impl Transport {
    /// Its name in reports and in the docs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Socket => "socket",
        }
    }
}

const ALL: &[Transport] = &[Transport::Tcp, Transport::Tls, Transport::Socket];
const PASSWORDS: &[Transport] = &[Transport::Tcp, Transport::Tls];

/// A case, and what it shows.
pub(crate) struct Case {
    /// Its name, in requests, tables and reports.
    pub(crate) name: &'static str,
    /// For the table: what works.
    pub(crate) says: &'static str,
    /// What it is played over, one after the other.
    pub(crate) over: &'static [Transport],
}

const fn case(name: &'static str, says: &'static str, over: &'static [Transport]) -> Case {
    Case { name, says, over }
}

/// The ways to name a branch: each while the server is asleep, waking and awake.
pub(crate) const WAYS: &[Case] = &[
    case("database_name", "branch in the database name (`postgres@feat`)", ALL),
    case("user_name", "branch in the user name (`alice@feat`)", ALL),
    case("option", "branch by `options`: `-c nap.branch=feat`", ALL),
    case("endpoint", "branch by `options`: `endpoint=feat`", ALL),
    case("parameter", "branch by a startup parameter `branch`", ALL),
    case("own_port", "the branch's own port", PASSWORDS),
    case("own_socket", "the branch's own socket directory", &[Transport::Socket]),
    case("server_name", "branch in the host's name (`feat.localhost`), by SNI", &[Transport::Tls]),
];

/// What is done over a connection.
pub(crate) const DEEDS: &[Case] = &[
    case("cancel", "a query is cancelled, and the session goes on", ALL),
    case("copy", "COPY in and out", ALL),
    case("pipeline", "many queries sent before the first answer is read", ALL),
    case("large", "a result of 100 MB, read in parts", ALL),
    case("error", "SQLSTATE, message, detail and hint of an error", ALL),
    case("channel_binding", "SCRAM bound to the channel", &[Transport::Tls]),
    case("wrong_password", "a wrong password is told from other errors", PASSWORDS),
    case("unknown_branch", "a branch that does not exist is told, with the nearest name", ALL),
    case("default_branch", "no branch named: the default one", ALL),
];

/// How a user may write down where to connect. Each says by itself what it goes over.
pub(crate) const STRINGS: &[Case] = &[
    case("url", "the URL that `nap url` prints", &[Transport::Tcp]),
    case("url_verify", "the URL that `nap url --verify` prints", &[Transport::Tls]),
    case("url_socket", "a URL with a socket's directory (`postgresql:///shop@feat?host=/…`)", &[Transport::Socket]),
    case("url_option", "a URL with `?options=endpoint%3Dfeat`", &[Transport::Tcp]),
    case("url_parameter", "a URL with `?branch=feat`", &[Transport::Tcp]),
    case("url_percent", "a URL with percent-encoded role and password", &[Transport::Tcp]),
    case("url_percent_database", "a URL with a percent-encoded database and branch", &[Transport::Tcp]),
    case("keywords", "a string of keywords and values, or a JDBC URL", &[Transport::Tcp]),
    case("environment", "the environment variables of `nap env --tools`", &[Transport::Tcp]),
];

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    WAYS.iter().chain(DEEDS).chain(STRINGS)
}

/// One case over one transport.
#[derive(Clone, Copy)]
pub(crate) struct Scene {
    /// The case's name.
    pub(crate) case: &'static str,
    /// What it goes over.
    pub(crate) over: Transport,
}

impl std::fmt::Display for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} over {}", self.case, self.over.name())
    }
}

impl Case {
    /// Each of its scenes.
    pub(crate) fn scenes(&self) -> impl Iterator<Item = Scene> {
        self.over.iter().map(|over| Scene { case: self.name, over: *over })
    }
}
