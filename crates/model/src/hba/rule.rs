//! One rule, and how it is read from a line.

use super::address::Address;
use super::files::Line;
use super::line::{Field, Token};
use super::name::{DatabaseName, RoleName};
use super::problem::Place;

/// A line of `pg_hba.conf`.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Where it stands.
    pub place: Place,
    pub(super) connection: ConnectionType,
    pub(super) databases: Vec<DatabaseName>,
    pub(super) roles: Vec<RoleName>,
    pub(super) address: Address,
    /// What it asks of a client.
    pub method: Method,
    /// What it asks of a client's certificate besides.
    pub client_certificate: ClientCertificate,
    /// What of a certificate names the user.
    pub certificate_name: CertificateName,
}

/// How a client must come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionType {
    Local,
    Host,
    HostSsl,
    HostNoSsl,
    /// Never: Napgres has no GSSAPI encryption.
    HostGssEnc,
    HostNoGssEnc,
}

/// How a client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Trust,
    /// In no way.
    Reject,
    /// By the kernel's word who is behind a Unix socket.
    Peer {
        /// The map from system users to roles; none: the names must be the same.
        map: Option<String>,
    },
    /// By a password.
    ScramSha256,
    /// As PostgreSQL means it where passwords are stored for SCRAM: the same.
    Md5,
    /// By the certificate it has shown.
    Cert {
        /// The map from its names to roles; none: the names must be the same.
        map: Option<String>,
    },
}

impl Method {
    /// Its name in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Trust => "trust",
            Method::Reject => "reject",
            Method::Peer { .. } => "peer",
            Method::ScramSha256 => "scram-sha-256",
            Method::Md5 => "md5",
            Method::Cert { .. } => "cert",
        }
    }
}

/// `clientcert`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// None is needed.
    #[default]
    NotAsked,
    /// One that `ssl_ca_file` vouches for.
    VerifyCa,
    /// Such a one, in the name of the role.
    VerifyFull,
}

/// `clientname`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name.
    #[default]
    CommonName,
    /// The distinguished name, as RFC 2253 writes it.
    DistinguishedName,
}

/// Methods that PostgreSQL has and Napgres has not.
const LACKING: [&str; 9] = ["gss", "ident", "ldap", "oauth", "pam", "password", "radius", "sspi", "bsd"];

impl Rule {
    /// Reads one line, which has at least one field. The words for what is wrong are PostgreSQL's.
    pub(super) fn parse(line: &Line) -> Result<Self, String> {
        let mut fields = line.fields.iter();
        let connection = ConnectionType::parse(one(fields.next(), "connection type")?)?;
        let field = fields.next().ok_or("end-of-line before database specification")?;
        let databases = field.iter().map(DatabaseName::parse).collect::<Result<_, _>>()?;
        let field = fields.next().ok_or("end-of-line before role specification")?;
        let roles = field.iter().map(RoleName::parse).collect::<Result<_, _>>()?;
        let address = if connection == ConnectionType::Local {
            Address::All
        } else {
            let field = fields.next().ok_or("end-of-line before IP address specification")?;
            Address::parse(one(Some(field), "host address")?, || {
                one(Some(fields.next().ok_or("end-of-line before netmask specification")?), "netmask")
            })?
        };
        let field = fields.next().ok_or("end-of-line before authentication method")?;
        let method = method(one(Some(field), "authentication type")?, connection)?;
        let mut rule = Self {
            place: line.place.clone(),
            connection,
            databases,
            roles,
            address,
            method,
            client_certificate: ClientCertificate::default(),
            certificate_name: CertificateName::default(),
        };
        for option in fields.flatten() {
            let Some((name, value)) = option.text.split_once('=') else {
                return Err(format!("authentication option not in name=value format: {}", option.text));
            };
            rule.set(name, value)?;
        }
        if matches!(rule.method, Method::Cert { .. }) {
            rule.client_certificate = ClientCertificate::VerifyFull;
        }
        Ok(rule)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let only_hostssl = |connection| match connection {
            ConnectionType::HostSsl => Ok(()),
            _ => Err(format!("{name} can only be configured for \"hostssl\" rows")),
        };
        let invalid = || Err(format!("invalid value for {name}: \"{value}\""));
        match (name, &mut self.method) {
            ("map", Method::Peer { map } | Method::Cert { map }) => {
                // An empty name is none, as with PostgreSQL.
                *map = Some(value.to_owned()).filter(|map| !map.is_empty());
            }
            ("map", _) => {
                return Err(
                    "authentication option \"map\" is only valid for authentication methods peer and cert".into()
                );
            }
            ("clientcert", method) => {
                only_hostssl(self.connection)?;
                self.client_certificate = match value {
                    "verify-full" => ClientCertificate::VerifyFull,
                    "verify-ca" if matches!(method, Method::Cert { .. }) => {
                        return Err(
                            "clientcert can only be set to \"verify-full\" when using \"cert\" authentication".into()
                        );
                    }
                    "verify-ca" => ClientCertificate::VerifyCa,
                    _ => return invalid(),
                };
            }
            ("clientname", _) => {
                only_hostssl(self.connection)?;
                self.certificate_name = match value {
                    "CN" => CertificateName::CommonName,
                    "DN" => CertificateName::DistinguishedName,
                    _ => return invalid(),
                };
            }
            _ => return Err(format!("unrecognized authentication option name: \"{name}\"")),
        }
        Ok(())
    }
}

/// The only token of a field.
fn one<'t>(field: Option<&'t Field>, what: &str) -> Result<&'t Token, String> {
    match field.map(Vec::as_slice) {
        Some([token]) => Ok(token),
        _ => Err(format!("multiple values specified for {what}")),
    }
}

impl ConnectionType {
    fn parse(token: &Token) -> Result<Self, String> {
        match token.text.as_str() {
            "local" => Ok(Self::Local),
            "host" => Ok(Self::Host),
            "hostssl" => Ok(Self::HostSsl),
            "hostnossl" => Ok(Self::HostNoSsl),
            "hostgssenc" => Ok(Self::HostGssEnc),
            "hostnogssenc" => Ok(Self::HostNoGssEnc),
            other => Err(format!("invalid connection type \"{other}\"")),
        }
    }

    /// Whether a TCP connection is of this type.
    pub(super) fn matches_tcp(self, tls: bool) -> bool {
        match self {
            Self::Host | Self::HostNoGssEnc => true,
            Self::HostSsl => tls,
            Self::HostNoSsl => !tls,
            Self::Local | Self::HostGssEnc => false,
        }
    }
}

fn method(token: &Token, connection: ConnectionType) -> Result<Method, String> {
    let method = match token.text.as_str() {
        "trust" => Method::Trust,
        "reject" => Method::Reject,
        "peer" => Method::Peer { map: None },
        // PostgreSQL reads it so, for the files of long ago.
        "ident" if connection == ConnectionType::Local => Method::Peer { map: None },
        "scram-sha-256" => Method::ScramSha256,
        "md5" => Method::Md5,
        "cert" => Method::Cert { map: None },
        lacking if LACKING.contains(&lacking) => {
            return Err(format!(
                "authentication method \"{lacking}\" is not supported by Napgres: \
                 there are trust, reject, peer, scram-sha-256, md5 and cert"
            ));
        }
        other => return Err(format!("invalid authentication method \"{other}\"")),
    };
    match method {
        Method::Peer { .. } if connection != ConnectionType::Local => {
            Err("peer authentication is only supported on local sockets".into())
        }
        Method::Cert { .. } if connection != ConnectionType::HostSsl => {
            Err("cert authentication is only supported on hostssl connections".into())
        }
        method => Ok(method),
    }
}
