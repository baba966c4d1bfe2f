//! `nap.toml`: read, and changed key by key with its comments kept.

use std::io;

use nap_model::settings::{self, BadSettings, Settings};

use crate::durable;
use crate::edit;
use crate::error::StoreError;
use crate::home::Home;

const CONFIG_MAX_BYTES: u64 = 1 << 20;

/// The home's settings; without a file, the defaults.
pub fn load(home: &Home) -> Result<Settings, StoreError> {
    Ok(Settings::parse(&text(home)?)?)
}

/// The file as it is; empty if there is none.
pub fn text(home: &Home) -> Result<String, StoreError> {
    let path = home.nap_toml();
    match durable::read_bounded(&path, CONFIG_MAX_BYTES) {
        Ok(bytes) => {
            String::from_utf8(bytes).map_err(|_| BadSettings::Value(format!("{} is not UTF-8", path.display())).into())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(StoreError::io("read", &path, e)),
    }
}

/// Changes one setting (`None`: back to its default) and returns all of them. The file is as before on any error.
pub fn set(home: &Home, name: &str, value: Option<&str>) -> Result<Settings, StoreError> {
    settings::known(name)?;
    let before = text(home)?;
    Settings::parse(&before)?;
    let parse = |text: &str| Settings::parse(text).map_err(|e| e.to_string());
    let (after, settings) = edit::change(&before, None, name, value, parse).map_err(BadSettings::Value)?;
    let path = home.nap_toml();
    durable::write_atomic(&path, after.as_bytes(), 0o644).map_err(|e| StoreError::io("write", &path, e))?;
    Ok(settings)
}
