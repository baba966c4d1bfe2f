//! The daemon: configure, build, announce, wait, drain with a deadline.

mod branch_set;
mod config;
mod control_api;
mod control_socket;
mod descriptors;
mod discarded;
mod doors;
mod expiry;
mod first_start;
mod historian;
mod home_lock;
mod inherited;
mod installs;
mod keeper;
mod listening;
mod log_watch;
mod logging;
mod notify;
mod pool_watch;
pub(crate) mod privileges;
mod secrets;
mod sessions;
mod showing;
mod signals;
mod socket_lock;
mod succession;
mod systemd;
mod timed_work;
mod tls;

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nap_gateway::{Estate, Gateway, Limits, Peers};
use nap_model::ids::Major;
use nap_server::children::Children;
use nap_store::{Home, HomeLock, Store, make_home};
use tokio::sync::watch;
use tokio::time::Instant;

use branch_set::BranchSet;
use config::Config;
use control_api::ControlApi;
use control_socket::ControlSocket;
use inherited::Inherited;
pub(crate) use inherited::are_there as inherits_sockets;
pub(crate) use inherited::is_left_something;
use succession::Belongings;
use systemd::Systemd;
use timed_work::TimedWork;

/// What `nap up` hands over.
pub(crate) struct DaemonOptions {
    /// The home.
    pub(crate) home: Home,
    /// The port that was asked for.
    pub(crate) port: Option<u16>,
    /// The major that was asked for, for clusters to be made.
    pub(crate) pg: Option<Major>,
    /// Whether standard error is where somebody reads.
    pub(crate) foreground: bool,
    /// After whom the first role and database are named.
    pub(crate) invoking_user: String,
    /// Where to say that it is ready.
    pub(crate) ready: Option<OwnedFd>,
    /// This process was another program's, which has left everything to us.
    pub(crate) takes_over: bool,
}

/// Beyond the servers' own shutdown_timeout: an immediate shutdown, and the end of what is left.
pub(crate) const DRAIN_BEYOND: Duration = Duration::from_secs(15);

/// For root, who lets the system start the daemon: makes the home's own directory for the user that it runs as.
pub(crate) fn prepare_home(home: &Home, run_as: &str, program: &Path) -> anyhow::Result<()> {
    if let Some(owner) = privileges::owner(home.root(), run_as)? {
        privileges::refuse_unreachable(program, run_as)?;
        nap_store::create::give_home(home, owner)?;
    }
    Ok(())
}

/// Runs the daemon to its end.
pub(crate) fn run(mut options: DaemonOptions) -> anyhow::Result<()> {
    privileges::keep_descriptors_from_servers();
    // What another daemon has left is received below.
    privileges::raise_file_limit();
    // Variables that were a service manager's tell nothing to the program that goes on in the same process.
    let (succession, inherited) = if options.takes_over {
        let (succession, inherited) = succession::take_over()?;
        (Some(Ok(succession)), inherited)
    } else {
        let (inherited, stored) = inherited::take()?;
        (stored.as_ref().map(systemd::take_stored), inherited)
    };
    let settings = nap_store::config::load(&options.home)?;
    let owner = privileges::owner(options.home.root(), &settings.run_as)?;
    if let Some(owner) = owner {
        nap_store::create::give_home(&options.home, owner)?;
    }
    // From here on nothing runs as root; nothing of a client has been read yet.
    privileges::become_user(owner, &settings.run_as)?;
    nap_store::pool::check(&options.home)?;
    make_home(&options.home)?;
    let (lock, estate, lost) = match succession {
        Some(Ok(succession)) => (succession.lock, Some(succession.estate), None),
        Some(Err(error)) => (home_lock::take(&options.home)?, None, Some(error)),
        None => (home_lock::take(&options.home)?, None, None),
    };
    let lock = Arc::new(lock);
    // While we waited for the lock, the branches may have been moved into a pool.
    let now = options.home.again();
    if now != options.home {
        nap_store::pool::check(&now)?;
        make_home(&now)?;
        options.home = now;
    }
    logging::start(&options.home, options.foreground)?;
    if let Some(error) = lost {
        tracing::error!(error = format!("{error:#}"), "the sessions of the daemon before are lost");
    }
    nap_store::migrate(&options.home, &lock)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(options, inherited, &lock, estate));
    // What still runs in a blocking thread is not waited for: it holds nothing that a new start would not sweep.
    runtime.shutdown_timeout(Duration::from_millis(200));
    drop(lock);
    outcome
}

async fn serve(
    options: DaemonOptions,
    inherited: Inherited,
    lock: &Arc<HomeLock>,
    mut estate: Option<Estate>,
) -> anyhow::Result<()> {
    let (mut stop, hangup) = (signals::Stop::listen()?, signals::hangup()?);
    let more_time = notify::MoreTime::ask(notify::START_AT_MOST);
    let started = Instant::now();
    let children = Children::start(privileges::environment()).context("cannot become the reaper of servers")?;
    let home = options.home.clone();
    let config = Config::open(home.clone(), options.port, &inherited)?;
    let rules = crate::rules::at_start(&home, config.listens_beyond_loopback())?;
    // What they work on is swept.
    nap_server::strays::end(&nap_store::places_of_the_half_made(&home)).await;
    let store = Arc::new(Store::open(home.clone())?);
    let kept = inherited.duplicates().context("cannot duplicate the inherited sockets")?;
    if let Some(estate) = &mut estate {
        nap_gateway::offer(estate.take_listeners());
    }
    let listening = listening::Sockets::bind(&config, &home, inherited)?;
    let installs = Arc::new(installs::Installs::find(&config, &children));
    first_start::make_main(&store, &config, &installs, &children, &options).await?;

    let branches = BranchSet::open(store.clone(), config.clone(), installs.clone(), children.clone(), rules).await?;
    branches.set_showing(showing::Showing::start(branches.clone()));
    let bounds = descriptors::follow(&config, &branches);
    let uid = rustix::process::geteuid().as_raw();
    let (gateway, tls) = open_gateway(&branches, &config, bounds.limits, estate).await?;
    let libpq_socket_missing = listening.libpq_socket_missing();
    branches.set_doors(listening.serve(&gateway, &branches)?);
    let control = control_socket::listen(&home.control_socket()).context("cannot make the control socket")?;
    let control_socket = control.as_fd().try_clone_to_owned()?;
    nap_gateway::withdraw();
    let timed_work = TimedWork::new(branches.clone(), config.clone(), installs.clone(), children.clone());
    let api = Arc::new(ControlApi {
        branches: branches.clone(),
        gateway: gateway.clone(),
        config: config.clone(),
        tls: tls.clone(),
        installs,
        started,
        stop: stop.asker(),
        libpq_socket_missing,
        max_connections_lowered: bounds.lowered,
        belongings: Belongings { lock: lock.clone(), kept },
        foreground: options.foreground,
        control_socket,
        timed_work: timed_work.clone(),
        replacing: tokio::sync::Mutex::default(),
    });
    let control = ControlSocket::serve(control, api.clone(), uid);
    tokio::spawn(timed_work.run());
    look_after(&branches, &config, tls, hangup);
    announce(options.ready, options.foreground, &config);
    drop(more_time);
    notify::ready(&branches);
    notify::keep_telling(branches.clone());

    let why = stop.asked().await;
    if let Some(systemd) = Systemd::that_restarts_us(&children).await {
        api.leave_to_the_next(&systemd).await;
    }
    notify::stopping();
    drain(why, &gateway, &branches, &config).await;
    control.end().await;
    let _ = std::fs::remove_file(home.control_socket());
    tracing::info!("down");
    Ok(())
}

/// The gateway, with its certificates, and with the sessions that another program has left.
async fn open_gateway(
    branches: &Arc<BranchSet>,
    config: &Config,
    limits: watch::Receiver<Limits>,
    estate: Option<Estate>,
) -> anyhow::Result<(Arc<Gateway<BranchSet>>, Arc<tls::ServerTls>)> {
    let owner_uid = rustix::process::geteuid().as_raw();
    let peers = Peers { owner_uid, name_of: crate::invoker::name_of };
    let fences = estate.as_ref().map(Estate::fence_channel);
    let gateway = Gateway::start(branches.clone(), limits, peers, secrets::mock_secret(config.home())?, fences);
    let gateway = Arc::new(gateway.context("cannot start the gateway")?);
    branches.set_gateway(&gateway);
    let tls = tls::ServerTls::new(config.clone(), gateway.clone(), branches.clone());
    tls.load().await?;
    if let Some(estate) = estate {
        tracing::info!(sessions = estate.sessions(), "goes on in place of the program before");
        gateway.take_up(estate).await;
    }
    Ok((gateway, tls))
}

/// What is done besides, for as long as the daemon is up.
fn look_after(
    branches: &Arc<BranchSet>,
    config: &Config,
    tls: Arc<tls::ServerTls>,
    hangup: tokio::signal::unix::Signal,
) {
    tokio::spawn(keeper::rotate_logs(branches.clone()));
    tokio::spawn(pool_watch::warn_in_time(config.home().clone()));
    tokio::spawn(expiry::remove_in_time(branches.clone()));
    tokio::spawn(discarded::drop_in_time(branches.clone()));
    tokio::spawn(tls.clone().renew_in_time());
    tokio::spawn(signals::reload_on_hangup(hangup, config.clone(), branches.clone(), tls));
}

fn announce(ready: Option<OwnedFd>, foreground: bool, config: &Config) {
    let settings = config.get();
    tracing::info!(port = settings.port, addresses = ?settings.listen_addresses, "up");
    if foreground {
        let home = crate::output::quote::shell(&config.home().root().to_string_lossy());
        tracing::info!("connect with `nap --home {home} psql`; Ctrl-C or `nap --home {home} down` stops it");
    }
    if let Some(pipe) = ready {
        // Whoever waited may be gone.
        let _ = File::from(pipe).write_all(b"{\"ready\":true}\n");
    }
}

/// Fast shutdown of all servers, which ends the sessions with 57P01, then the gateway's rest.
async fn drain(why: &str, gateway: &Gateway<BranchSet>, branches: &BranchSet, config: &Config) {
    tracing::info!(why, "shutting down");
    gateway.stop_accepting();
    if let Some(doors) = branches.doors() {
        doors.close_all();
    }
    let patience = config.get().shutdown_timeout.0.unwrap_or_default() + DRAIN_BEYOND;
    let _more_time = notify::MoreTime::ask(patience);
    for branch in branches.fleet().end(Instant::now() + patience).await {
        tracing::error!(%branch, "its server did not end in time and is left to itself");
    }
    for late in gateway.drain(Instant::now() + Duration::from_secs(1)).await {
        tracing::warn!(session = late.id, branch = %late.branch, client = late.client, "the session did not end in time");
    }
}
