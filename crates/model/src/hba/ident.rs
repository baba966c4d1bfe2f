//! Maps from system users, or names in certificates, to roles: `pg_ident.conf`, as of PostgreSQL 16.

use super::decide::Connection;
use super::files::Line;
use super::line::Token;
use super::name::RoleName;
use super::pattern::Pattern;

/// What is put in place of `\1` in a role's name.
const BACK_REFERENCE: &str = "\\1";

/// All maps of a home.
#[derive(Debug, Default)]
pub struct Maps(Vec<MapLine>);

#[derive(Debug)]
struct MapLine {
    map: String,
    system_user: SystemUser,
    role: RoleName,
}

#[derive(Debug)]
enum SystemUser {
    Pattern(Pattern),
    Exactly(String),
}

/// Why a user may not be the role it asks for. For the log: a client only learns that it may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Without a map the names must be the same.
    #[error("provided user name ({role}) and authenticated user name ({system_user}) do not match")]
    Different {
        /// Who it wants to be.
        role: String,
        /// Who it is.
        system_user: String,
    },
    /// No line of the map says so.
    #[error("no match in usermap \"{map}\" for user \"{role}\" authenticated as \"{system_user}\"")]
    NoMatch {
        /// The map.
        map: String,
        /// Who it wants to be.
        role: String,
        /// Who it is.
        system_user: String,
    },
    /// The line that is the user's asks for something that its expression has not.
    #[error("regular expression \"{expression}\" has no subexpressions as requested by backreference in \"{role}\"")]
    NoSubexpression {
        /// The expression.
        expression: String,
        /// What asks for it.
        role: String,
    },
}

impl Maps {
    /// Whether there is a line of this map.
    pub(super) fn has(&self, map: &str) -> bool {
        self.0.iter().any(|line| line.map == map)
    }

    pub(super) fn add(&mut self, line: &Line) -> Result<(), String> {
        let [map, system_user, role, ..] = line.fields.as_slice() else {
            return Err("missing entry at end of line".into());
        };
        let one = |field: &[Token]| match field {
            [token] => Ok(token.clone()),
            _ => Err("multiple values in ident field".to_owned()),
        };
        let (map, system_user, role) = (one(map)?, one(system_user)?, one(role)?);
        self.0.push(MapLine {
            map: map.text,
            system_user: match Pattern::of(&system_user.text) {
                Some(pattern) => SystemUser::Pattern(pattern?),
                None => SystemUser::Exactly(system_user.text),
            },
            role: RoleName::parse(&role)?,
        });
        Ok(())
    }

    /// Whether a user of the system may be the role that it asks for.
    pub fn check(&self, map: Option<&str>, system_user: &str, connection: &Connection<'_>) -> Result<(), MapError> {
        let role = connection.role.to_owned();
        let Some(map) = map else {
            let different = || MapError::Different { role, system_user: system_user.to_owned() };
            return (connection.role == system_user).then_some(()).ok_or_else(different);
        };
        for line in self.0.iter().filter(|line| line.map == map) {
            if line.allows(system_user, connection)? {
                return Ok(());
            }
        }
        Err(MapError::NoMatch { map: map.to_owned(), role, system_user: system_user.to_owned() })
    }
}

impl MapLine {
    fn allows(&self, system_user: &str, connection: &Connection<'_>) -> Result<bool, MapError> {
        let pattern = match &self.system_user {
            SystemUser::Exactly(name) => return Ok(name == system_user && self.role.matches(connection)),
            SystemUser::Pattern(pattern) => pattern,
        };
        let Some(captures) = pattern.captures(system_user) else { return Ok(false) };
        match &self.role {
            RoleName::Exactly(role) if role.contains(BACK_REFERENCE) => {
                let captured = captures.get(1).ok_or_else(|| MapError::NoSubexpression {
                    expression: pattern.expression().to_owned(),
                    role: role.clone(),
                })?;
                // What comes of it is a plain name, whatever it looks like.
                Ok(role.replacen(BACK_REFERENCE, captured.as_str(), 1) == connection.role)
            }
            role => Ok(role.matches(connection)),
        }
    }
}
