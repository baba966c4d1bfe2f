//! Which branch, role and database a startup packet means. Pure: nothing here knows which branches exist.
//!
//! No connection that names one branch may ever reach another, so every way that is used must agree.

use std::borrow::Cow;
use std::fmt;

use nap_model::client_error::{ClientError, sqlstate};
use nap_model::ids::BranchName;
use nap_model::nearest::{did_you_mean, nearest};

use crate::options::{self, Spelling};

/// The longest name of a role or database in bytes (`NAMEDATALEN` - 1); PostgreSQL cuts longer ones.
const NAME_MAX_BYTES: usize = 63;

/// A way to name a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// `DB@BRANCH`
    Database,
    /// `USER@BRANCH`
    User,
    /// `-c nap.branch=NAME` in `options`
    Setting,
    /// `endpoint=NAME` in `options`
    Endpoint,
    /// The startup parameter `branch` or `nap.branch`
    Parameter(String),
    /// The branch's own socket directory or port
    Door,
    /// The host that TLS was asked for (SNI)
    ServerName,
}

/// How a connection came in, as far as that names a branch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entrance<'a> {
    /// The branch that the door is for.
    pub door: Option<&'a BranchName>,
    /// The label of the host's name, as [`label_below`] finds it.
    pub label: Option<&'a str>,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Database => f.write_str("the database name"),
            Way::User => f.write_str("the user name"),
            Way::Setting => f.write_str("nap.branch in options"),
            Way::Endpoint => f.write_str("endpoint in options"),
            Way::Parameter(name) => write!(f, "the startup parameter \"{name}\""),
            Way::Door => f.write_str("the socket or port it came through"),
            Way::ServerName => f.write_str("the host's name"),
        }
    }
}

/// What `replication` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Replication {
    /// An ordinary connection.
    No,
    /// A walsender without a database.
    Physical,
    /// A walsender in a database.
    Logical,
}

/// A startup packet, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The branch.
    pub branch: BranchName,
    /// The moment of its past that is wanted, as it was written; none: now.
    pub at: Option<String>,
    /// The role, without the branch.
    pub role: String,
    /// The database, without the branch.
    pub database: String,
    /// Whether it is a walsender.
    pub replication: Replication,
    /// `options`, without what named the branch.
    pub options: String,
    /// The other parameters that PostgreSQL understands, in order.
    pub parameters: Vec<(String, String)>,
}

/// Why a startup packet leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// As PostgreSQL says it.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// Two ways name two branches.
    #[error("{first} names branch \"{first_branch}\", but {second} names branch \"{second_branch}\"")]
    Disagreement {
        /// One way.
        first: Way,
        /// What it names.
        first_branch: BranchName,
        /// The other way.
        second: Way,
        /// What that names.
        second_branch: BranchName,
    },
    /// What stands there can be no branch.
    #[error("branch \"{name}\" does not exist")]
    NotAName {
        /// How it was named.
        way: Way,
        /// As it was written.
        name: String,
    },
    /// A client that does not decode what it was given. Led on, it would reach the default branch.
    #[error("{way} \"{name}\" contains a percent-encoded @")]
    PercentEncoded {
        /// How the branch was named.
        way: Way,
        /// As it was written.
        name: String,
    },
    /// A good name that no branch has.
    #[error("branch \"{name}\" does not exist")]
    Unknown {
        /// The name.
        name: BranchName,
        /// What it may have meant.
        nearest: Vec<String>,
    },
    /// `:ro`
    #[error("there are no standbys yet, so \":ro\" leads nowhere")]
    ReadOnly,
}

impl ClientError for RouteError {
    fn sqlstate(&self) -> &'static str {
        match self {
            RouteError::NoUser => sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
            RouteError::Disagreement { .. } => sqlstate::INVALID_PARAMETER_VALUE,
            RouteError::NotAName { .. } | RouteError::PercentEncoded { .. } | RouteError::Unknown { .. } => {
                sqlstate::INVALID_CATALOG_NAME
            }
            RouteError::ReadOnly => sqlstate::FEATURE_NOT_SUPPORTED,
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            RouteError::NoUser => None,
            RouteError::Disagreement { .. } => {
                Some("Name the branch in one way only, or the same branch in all of them.".into())
            }
            RouteError::NotAName { way: Way::Database | Way::User, .. } => Some(
                "What follows the last @ of a database or user name is the branch (a-z, 0-9 and -). \
                 A name that itself contains @ needs @BRANCH after it."
                    .into(),
            ),
            RouteError::NotAName { .. } => {
                Some("Names of branches are made of a-z, 0-9 and -; `nap ls` shows all branches.".into())
            }
            RouteError::PercentEncoded { .. } => Some(
                "This client does not decode it: write @ itself in its URL. \
                 A name that itself contains %40 needs @BRANCH after it."
                    .into(),
            ),
            RouteError::Unknown { nearest, .. } => {
                let question = did_you_mean(nearest.iter().map(|name| format!("\"{name}\"")));
                // PostgreSQL's hints are sentences.
                let question = question.map(|words| words.replacen("did", "Did", 1) + " ").unwrap_or_default();
                Some(format!("{question}`nap ls` shows all branches.").into())
            }
            RouteError::ReadOnly => Some("Leave \":ro\" out to reach the branch itself.".into()),
        }
    }
}

impl RouteError {
    /// `wanted` is none of `known`.
    pub fn unknown(wanted: BranchName, known: &[BranchName]) -> Self {
        let nearest = nearest(wanted.as_str(), known.iter().map(BranchName::as_str));
        RouteError::Unknown { nearest: nearest.into_iter().map(str::to_owned).collect(), name: wanted }
    }
}

/// Splits `NAME@BRANCH` at the last `@`.
fn split_name(name: &str) -> Result<(&str, Option<&str>), RouteError> {
    match name.rsplit_once('@') {
        None => Ok((name, None)),
        Some((_, branch)) if branch.ends_with(":ro") => Err(RouteError::ReadOnly),
        Some((name, branch)) => Ok((name, Some(branch))),
    }
}

/// Cuts a name as PostgreSQL does, but never inside a character: no name in a catalog ends in half a one.
fn cut(name: &str) -> String {
    let mut cut = String::new();
    cut.extend(name.char_indices().take_while(|(at, c)| at + c.len_utf8() <= NAME_MAX_BYTES).map(|(_, c)| c));
    cut
}

/// PostgreSQL's `parse_bool`, as far as it says yes: any beginning of "true" or "yes", "on", "1".
fn is_true(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    !value.is_empty() && ("true".starts_with(&value) || "yes".starts_with(&value)) || value == "on" || value == "1"
}

/// Collects what names a branch; the first way is kept, the others are compared with it.
struct Agreement(Option<(Way, BranchName)>);

impl Agreement {
    fn add(&mut self, way: Way, name: &str) -> Result<(), RouteError> {
        let Ok(branch) = name.parse::<BranchName>() else {
            return Err(RouteError::NotAName { way, name: name.chars().take(NAME_MAX_BYTES).collect() });
        };
        match &self.0 {
            None => self.0 = Some((way, branch)),
            Some((_, agreed)) if *agreed == branch => {}
            Some((first, first_branch)) => {
                return Err(RouteError::Disagreement {
                    first: first.clone(),
                    first_branch: first_branch.clone(),
                    second: way,
                    second_branch: branch,
                });
            }
        }
        Ok(())
    }
}

/// The one label that a host's name has below one of these domains. Other names are just the names of a host.
pub fn label_below(server_name: &str, domains: &[String]) -> Option<String> {
    // Clients send the dot of a name that was written with its root.
    let name = server_name.strip_suffix('.').unwrap_or(server_name).to_ascii_lowercase();
    let below = |domain: &String| name.strip_suffix(&domain.to_ascii_lowercase())?.strip_suffix('.');
    let label = domains.iter().filter_map(below).find(|label| !label.is_empty() && !label.contains('.'))?;
    Some(label.to_owned())
}

/// Understands the parameters of a startup packet that came in through `entrance`. Of a parameter that is given twice
/// the last counts, as in PostgreSQL, but the branches they name must agree all the same.
pub fn route(
    parameters: impl IntoIterator<Item = (String, String)>,
    entrance: Entrance<'_>,
    default: &BranchName,
) -> Result<Route, RouteError> {
    let mut agreement = Agreement(entrance.door.map(|branch| (Way::Door, branch.clone())));
    if let Some(label) = entrance.label {
        agreement.add(Way::ServerName, label)?;
    }
    let (mut role, mut database) = (String::new(), String::new());
    // Given twice, `database` stays: what is a walsender in a database to PostgreSQL must be one to the rules.
    let (mut walsender, mut in_database) = (false, false);
    let (mut options, mut at, mut others) = (String::new(), None, Vec::new());
    for (name, value) in parameters {
        match name.as_str() {
            "user" => role = cut(take_name(&mut agreement, Way::User, &value)?),
            "database" => database = cut(take_name(&mut agreement, Way::Database, &value)?),
            "options" => {
                let taken = options::take(&value);
                for (spelling, branch) in taken.named {
                    let way = if spelling == Spelling::Setting { Way::Setting } else { Way::Endpoint };
                    agreement.add(way, &branch)?;
                }
                options = taken.rest;
                at = taken.at.or(at);
            }
            "replication" => {
                walsender = value == "database" || is_true(&value);
                in_database |= value == "database";
                others.push((name, value));
            }
            // PostgreSQL takes the names of settings in any case.
            _ if name.eq_ignore_ascii_case("branch") || name.eq_ignore_ascii_case("nap.branch") => {
                agreement.add(Way::Parameter(name), &value)?;
            }
            _ if name.eq_ignore_ascii_case("nap.at") => at = Some(value),
            _ => others.push((name, value)),
        }
    }
    if role.is_empty() {
        return Err(RouteError::NoUser);
    }
    if database.is_empty() {
        database.clone_from(&role);
    }
    let branch = agreement.0.map_or_else(|| default.clone(), |(_, branch)| branch);
    let replication = match (walsender, in_database) {
        (false, _) => Replication::No,
        (true, false) => Replication::Physical,
        (true, true) => Replication::Logical,
    };
    Ok(Route { branch, at, role, database, replication, options, parameters: others })
}

fn take_name<'a>(agreement: &mut Agreement, way: Way, value: &'a str) -> Result<&'a str, RouteError> {
    let (name, branch) = split_name(value)?;
    match branch {
        Some(branch) => agreement.add(way, branch)?,
        None if name.contains("%40") => return Err(RouteError::PercentEncoded { way, name: cut(name) }),
        None => {}
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
