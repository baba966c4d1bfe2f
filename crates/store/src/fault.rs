//! Places where a test kills the process, to see what a crash there leaves behind, or lets something else happen. Tests of this
//! room do so from inside; those of the whole daemon by [`nap_fault`].

#[cfg(not(test))]
pub(crate) use nap_fault::point;

/// The variable that names the place to die at.
#[cfg(test)]
pub(crate) const DIE_AT: &str = "NAP_STORE_DIE_AT";

#[cfg(test)]
type Hook = Box<dyn FnOnce()>;

#[cfg(test)]
thread_local! {
    static HOOK: std::cell::RefCell<Option<(&'static str, Hook)>> = const { std::cell::RefCell::new(None) };
}

/// Has this thread do something else, once, when it comes to this place.
#[cfg(test)]
pub(crate) fn meanwhile(place: &'static str, hook: impl FnOnce() + 'static) {
    HOOK.set(Some((place, Box::new(hook))));
}

/// Kills this process, as `kill -9` does, if the test asked for it here, or does what else it asked for.
#[cfg(test)]
pub(crate) fn point(name: &str) {
    if std::env::var_os(DIE_AT).is_some_and(|place| place == name) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
    if let Some((_, hook)) = HOOK.with_borrow_mut(|hook| hook.take_if(|(place, _)| *place == name)) {
        hook();
    }
}
