//! Places where a test kills the process, to see what a crash there leaves behind. Nothing outside tests.

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}

/// The variable that names the place to die at.
#[cfg(test)]
pub(crate) const DIE_AT: &str = "NAP_STORE_DIE_AT";

/// Kills this process, as `kill -9` does, if the test asked for it here.
#[cfg(test)]
pub(crate) fn point(name: &str) {
    if std::env::var_os(DIE_AT).is_some_and(|place| place == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
