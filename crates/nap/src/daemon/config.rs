//! The settings in force, and everything derived from them.

use std::sync::Arc;

use nap_control::{Failure, FailureKind};
use nap_model::hba::beyond_loopback;
use nap_model::settings::{Applies, BadSettings, SPECS, Settings};
use nap_store::{Home, StoreError};
use tokio::sync::watch;

use super::inherited::Inherited;

/// The settings of this daemon. Copies share them.
#[derive(Clone)]
pub(crate) struct Config {
    home: Home,
    inherited: Arc<InheritedAddresses>,
    settings: Arc<watch::Sender<Settings>>,
}

/// The addresses of inherited sockets, where nap.toml has nothing to say.
struct InheritedAddresses {
    shared: Vec<String>,
    all: Vec<String>,
}

impl InheritedAddresses {
    /// The settings with them. Whatever is asked of listen_addresses is asked of them.
    fn join(&self, mut settings: Settings) -> Result<Settings, BadSettings> {
        let configured = std::mem::replace(&mut settings.listen_addresses, self.all.clone());
        if self.shared.is_empty() {
            settings.listen_addresses.extend_from_slice(&configured);
        }
        settings.check()?;
        settings.listen_addresses = if self.shared.is_empty() { configured } else { self.shared.clone() };
        Ok(settings)
    }
}

impl Config {
    /// Reads nap.toml; a port that was asked for or inherited holds, and is written by whoever serves it.
    pub(super) fn open(home: Home, port: Option<u16>, inherited: &Inherited) -> anyhow::Result<Self> {
        let settings = nap_store::config::load(&home)?;
        let inherited_port = inherited.port();
        if let (Some(asked), Some(kept)) = (port, inherited_port)
            && asked != kept
        {
            let message = format!("the inherited socket is on port {kept}, not {asked}");
            return Err(Failure::new(FailureKind::Conflict, message)
                .hint("change ListenStream= in the socket unit, and leave --port out")
                .into());
        }
        let inherited = InheritedAddresses { shared: inherited.shared_addresses(), all: inherited.all_addresses() };
        let mut settings = inherited.join(settings).map_err(StoreError::from)?;
        settings.port = port.or(inherited_port).unwrap_or(settings.port);
        Ok(Self { home, inherited: Arc::new(inherited), settings: Arc::new(watch::Sender::new(settings)) })
    }

    /// The settings as they are now.
    pub(super) fn get(&self) -> Settings {
        self.settings.borrow().clone()
    }

    /// Whether others than this machine's own clients can come.
    pub(super) fn listens_beyond_loopback(&self) -> bool {
        beyond_loopback(&self.settings.borrow().listen_addresses) || beyond_loopback(&self.inherited.all)
    }

    /// Something made of the settings, and made anew whenever they change to something else.
    pub(super) fn derived<T>(&self, make: impl Fn(&Settings) -> T + Send + 'static) -> watch::Receiver<T>
    where
        T: PartialEq + Send + Sync + 'static,
    {
        let mut settings = self.settings.subscribe();
        let first = make(&settings.borrow_and_update());
        let (sender, receiver) = watch::channel(first);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    changed = settings.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
                let made = make(&settings.borrow_and_update());
                sender.send_if_modified(|now| {
                    let differs = *now != made;
                    *now = made;
                    differs
                });
            }
        });
        receiver
    }

    /// The home they are of.
    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// Writes the port that was bound: later starts use it, or fail.
    pub(super) fn write_port(&self, port: u16) -> Result<(), StoreError> {
        nap_store::config::set(&self.home, "port", Some(&port.to_string()))?;
        self.settings.send_modify(|settings| settings.port = port);
        Ok(())
    }

    /// Writes one setting, and brings it into force if it is one of those that can be.
    pub(super) fn set(&self, name: &str, value: Option<&str>) -> Result<(), StoreError> {
        let settings = nap_store::config::set(&self.home, name, value)?;
        self.bring_into_force(settings)?;
        Ok(())
    }

    /// Reads nap.toml again. On an error the old settings hold.
    pub(super) fn reload(&self) -> Result<Vec<&'static str>, StoreError> {
        let settings = nap_store::config::load(&self.home)?;
        Ok(self.bring_into_force(settings)?)
    }

    /// Returns the names of settings that differ but wait for the next start.
    fn bring_into_force(&self, mut new: Settings) -> Result<Vec<&'static str>, BadSettings> {
        let now = self.get();
        if !self.inherited.shared.is_empty() {
            // What nap.toml says of them is of no account, at the next start neither.
            new.listen_addresses.clone_from(&now.listen_addresses);
        }
        // A new daemon is needed for these, so what is in force must go on saying what is true.
        let restart = SPECS.iter().filter(|spec| spec.applies == Applies::Restart);
        let waiting = restart.map(|spec| spec.name).filter(|name| keep(&mut new, &now, name)).collect();
        // Only now: an address that is given up at the next start is still listened on, and still needs TLS.
        self.settings.send_replace(self.inherited.join(new)?);
        Ok(waiting)
    }
}

/// Puts the old value back and says whether it differed.
fn keep(now: &mut Settings, old: &Settings, name: &str) -> bool {
    fn back<T: PartialEq + Clone>(now: &mut T, old: &T) -> bool {
        let differs = now != old;
        now.clone_from(old);
        differs
    }
    match name {
        "port" => back(&mut now.port, &old.port),
        "listen_addresses" => back(&mut now.listen_addresses, &old.listen_addresses),
        "unix_socket_directory" => back(&mut now.unix_socket_directory, &old.unix_socket_directory),
        "run_as" => back(&mut now.run_as, &old.run_as),
        "postgres_bin" => back(&mut now.postgres_bin, &old.postgres_bin),
        _ => false,
    }
}
