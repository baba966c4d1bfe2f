//! Templates: data directories initdb'ed once per major and cloned for each new root.

use std::error::Error;
use std::path::{Path, PathBuf};

use nap_model::ids::Major;

use crate::error::StoreError;
use crate::fault;
use crate::staging::Staged;
use crate::store::Store;

/// A data directory to clone new roots from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its PostgreSQL.
    pub major: Major,
    /// The data directory.
    pub data: PathBuf,
}

impl Store {
    /// The template of this major, if it was made.
    pub fn template(&self, major: Major) -> Option<Template> {
        let data = self.home().template(major);
        data.is_dir().then_some(Template { major, data })
    }

    /// Makes the template of this major: `fill` gets an empty 0700 directory to initdb into. If one is there
    /// already, that one is kept and `fill` is not called.
    pub fn make_template<E>(
        &self,
        major: Major,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<Template, StoreError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        if let Some(template) = self.template(major) {
            return Ok(template);
        }
        let staged = Staged::new(self.home(), &format!("template-{major}"))?;
        fill(staged.path()).map_err(|e| StoreError::Fill(e.into()))?;
        fault::point("filled");
        staged.sync()?;
        let data = self.home().template(major);
        match staged.publish(&data) {
            // Somebody was faster, and theirs is as good.
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(StoreError::io("publish", &data, e)),
            _ => Ok(Template { major, data }),
        }
    }
}
