//! Who may connect, and how they prove who they are: rules in the format of PostgreSQL's `pg_hba.conf`, and maps of
//! system users to roles in that of its `pg_ident.conf`. First match wins.
//!
//! What Napgres lacks is refused when a file is read, with its line: a rule that were passed over silently would let
//! somebody in, or lock somebody out.

mod address;
mod decide;
mod defaults;
mod exposure;
mod files;
mod ident;
mod line;
mod name;
mod pattern;
mod problem;
mod refused;
mod rule;

use std::path::Path;
use std::sync::Arc;

pub use address::Interface;
pub use decide::{Connection, Decision, Look, Origin, Seen};
pub use defaults::{PG_HBA, pg_ident};
pub use exposure::{beyond_loopback, exposed};
pub use files::Files;
pub use ident::{MapError, Maps};
pub use problem::{Place, Problem, Problems};
pub use refused::Refused;
pub use rule::{CertificateName, ClientCertificate, Method, Rule};

/// The rules of one branch, with the maps that they name.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    maps: Arc<Maps>,
}

impl Rules {
    /// Reads a `pg_hba.conf` and all that it includes. Every line that is wrong is told.
    pub fn load(files: &dyn Files, path: &Path, maps: Arc<Maps>) -> Result<Self, Problems> {
        let (lines, mut problems) = files::read(files, path);
        let mut rules = Vec::new();
        for line in lines {
            match Rule::parse(&line) {
                Ok(rule) => rules.push(rule),
                Err(message) => problems.push(Problem { place: line.place, message }),
            }
        }
        if problems.is_empty() && rules.is_empty() {
            let message = "the file contains no entries, so nobody could connect".to_owned();
            problems.push(Problem { place: Place::whole(path), message });
        }
        Problems::none_or(problems)?;
        Ok(Self { rules, maps })
    }

    /// The maps that its rules name.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// The rules by maps that are not there: nobody could come in by them.
    pub fn without_maps(&self) -> Vec<Problem> {
        let problem = |rule: &Rule| match &rule.method {
            Method::Peer { map: Some(map) } | Method::Cert { map: Some(map) } if !self.maps.has(map) => {
                let message = format!("the home's pg_ident.conf has no map \"{map}\"");
                Some(Problem { place: rule.place.clone(), message })
            }
            _ => None,
        };
        self.rules.iter().filter_map(problem).collect()
    }

    /// All rules, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }
}

impl Maps {
    /// Reads a `pg_ident.conf` and all that it includes. Every line that is wrong is told.
    pub fn load(files: &dyn Files, path: &Path) -> Result<Self, Problems> {
        let (lines, mut problems) = files::read(files, path);
        let mut maps = Self::default();
        for line in lines {
            if let Err(message) = maps.add(&line) {
                problems.push(Problem { place: line.place, message });
            }
        }
        Problems::none_or(problems)?;
        Ok(maps)
    }
}

#[cfg(test)]
mod tests;
