//! The columns of databases and of users.

use super::decide::Connection;
use super::line::Token;
use super::pattern::Pattern;

/// One entry of the database column.
#[derive(Debug, Clone)]
pub(super) enum DatabaseName {
    All,
    SameUser,
    SameRole,
    Replication,
    Pattern(Pattern),
    Exactly(String),
}

impl DatabaseName {
    pub(super) fn parse(token: &Token) -> Result<Self, String> {
        if let Some(pattern) = Pattern::of(&token.text) {
            return pattern.map(Self::Pattern);
        }
        let keywords = [
            ("all", Self::All),
            ("sameuser", Self::SameUser),
            ("samerole", Self::SameRole),
            ("samegroup", Self::SameRole),
            ("replication", Self::Replication),
        ];
        let keyword = keywords.into_iter().find(|(keyword, _)| token.is_keyword(keyword));
        Ok(keyword.map_or_else(|| Self::Exactly(token.text.clone()), |(_, name)| name))
    }

    pub(super) fn matches(&self, connection: &Connection<'_>) -> bool {
        // Physical replication is in no database, so only its own keyword can mean it.
        if connection.physical_replication {
            return matches!(self, Self::Replication);
        }
        match self {
            Self::All => true,
            Self::SameUser => connection.database == connection.role,
            Self::SameRole => connection.is_member_of(connection.database),
            Self::Replication => false,
            Self::Pattern(pattern) => pattern.matches(connection.database),
            Self::Exactly(name) => name == connection.database,
        }
    }
}

/// One entry of the user column, in rules and in maps.
#[derive(Debug, Clone)]
pub(super) enum RoleName {
    All,
    MemberOf(String),
    Pattern(Pattern),
    Exactly(String),
}

impl RoleName {
    pub(super) fn parse(token: &Token) -> Result<Self, String> {
        if let Some(pattern) = Pattern::of(&token.text) {
            return pattern.map(Self::Pattern);
        }
        Ok(match token.behind('+') {
            Some(group) => Self::MemberOf(group.to_owned()),
            None if token.is_keyword("all") => Self::All,
            None => Self::Exactly(token.text.clone()),
        })
    }

    pub(super) fn matches(&self, connection: &Connection<'_>) -> bool {
        match self {
            Self::All => true,
            Self::MemberOf(group) => connection.is_member_of(group),
            Self::Pattern(pattern) => pattern.matches(connection.role),
            Self::Exactly(name) => name == connection.role,
        }
    }
}
