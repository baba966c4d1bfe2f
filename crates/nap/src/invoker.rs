//! Who runs this command: the first role and database are named so.

use nix::unistd::{Uid, User};

/// The name of the user who runs this; behind sudo, of the one who called sudo.
pub(crate) fn name() -> String {
    let uid = rustix::process::getuid();
    let behind_sudo = std::env::var("SUDO_USER").ok().filter(|name| uid.is_root() && !name.is_empty());
    choose(behind_sudo, name_of(uid.as_raw()), std::env::var("USER").ok(), uid.as_raw())
}

/// The name of this user, if the system knows one.
pub(crate) fn name_of(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// A container may run as a user that has no name.
fn choose(behind_sudo: Option<String>, known: Option<String>, variable: Option<String>, uid: u32) -> String {
    behind_sudo.or(known).or_else(|| variable.filter(|name| !name.is_empty())).unwrap_or_else(|| format!("user{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_called_sudo_counts() {
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(choose(some("alice"), some("root"), None, 0), "alice");
        assert_eq!(choose(None, some("bob"), some("x"), 1000), "bob");
        assert_eq!(choose(None, None, some(""), 1000), "user1000");
    }
}
