//! What ends the daemon: SIGTERM, SIGINT (Ctrl-C), SIGQUIT and `nap down` all mean the same. SIGHUP reloads.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::branch_set::BranchSet;
use super::config::Config;
use super::notify;
use super::tls::ServerTls;

/// Waits to be asked to stop.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    asked: watch::Sender<bool>,
}

impl Stop {
    /// From here on the signals no longer end the process.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            asked: watch::Sender::new(false),
        })
    }

    /// By which `nap down` asks.
    pub(super) fn asker(&self) -> watch::Sender<bool> {
        self.asked.clone()
    }

    /// Returns when somebody asks, with the way they did.
    pub(super) async fn asked(&mut self) -> &'static str {
        let mut asked = self.asked.subscribe();
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
            _ = asked.wait_for(|asked| *asked) => "nap down",
        }
    }
}

/// From here on SIGHUP no longer ends the process. One that comes before it is ready is remembered.
pub(super) fn hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// SIGHUP means what it means to PostgreSQL: read the settings again. A session of control_role may ask for the same.
pub(super) async fn reload_on_hangup(
    mut hangup: Signal,
    config: Config,
    branches: Arc<BranchSet>,
    tls: Arc<ServerTls>,
) {
    loop {
        tokio::select! {
            hangup = hangup.recv() => if hangup.is_none() { return },
            () = branches.reload_asked.notified() => {}
        }
        notify::reloading();
        match config.reload() {
            Ok(_) => tracing::info!("settings reloaded"),
            Err(error) => tracing::error!(%error, "settings not reloaded: the old ones hold"),
        }
        // What is wrong is in the log.
        let _ = branches.reload_rules().await;
        if let Err(error) = tls.load().await {
            tracing::error!(%error, "SSL configuration was not reloaded: the old one holds");
        }
        notify::reloaded();
    }
}
