//! The way of one connection, from accept to its end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use nap_model::access::{admit, has_room, is_limited};
use nap_model::client_error::{ClientError, sqlstate};
use nap_model::hba::Place;
use nap_model::ids::BranchName;
use nap_wire::messages::negotiate_protocol_version;
use nap_wire::startup::Startup;
use tokio::io::AsyncWriteExt;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::authenticate::{Peers, authenticate, rule_for};
use crate::branches::{Branches, Opened};
use crate::cancel::Cancels;
use crate::client::{Client, ClientStream};
use crate::control::Controls;
use crate::error::{Ended, dismiss, linger, refuse, tell};
use crate::first_packet::{Opening, read_opening};
use crate::hub::Hubs;
use crate::life::{LeftBehind, Life, Over};
use crate::limits::{Admission, Applicant, Permit, Places};
use crate::parking::{Rehearsals, Stock};
use crate::repeats::may_log;
use crate::route::{Entrance, Route, RouteError, route};
use crate::session::{Identity, Session};
use crate::sessions::{Entry, Registry};
use crate::tls::Tls;

/// How long a connection beyond the limits may take for its first packet: cancel requests are sent at once.
const OVERFLOW_TIMEOUT: Duration = Duration::from_secs(5);

/// What all connections share.
pub(crate) struct Shared<B> {
    pub(crate) branches: Arc<B>,
    pub(crate) places: Places,
    pub(crate) peers: Peers,
    pub(crate) mock_secret: [u8; 32],
    pub(crate) tls: watch::Receiver<Option<Arc<Tls>>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) cancels: Arc<Cancels>,
    pub(crate) rehearsals: Rehearsals,
    pub(crate) hubs: Arc<Hubs>,
    pub(crate) controls: Arc<Controls>,
    pub(crate) stock: Arc<Stock>,
    pub(crate) closing: watch::Receiver<bool>,
}

/// How a connection came in.
pub(crate) struct Arrival {
    pub(crate) door: Option<BranchName>,
    pub(crate) admission: Admission,
    pub(crate) accepted: Instant,
}

/// Why a connection is ended before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interrupted {
    /// As PostgreSQL says it.
    #[error("canceling authentication due to timeout")]
    TimedOut,
    #[error("terminating connection because Napgres is shutting down")]
    Closing,
    /// As PostgreSQL says it.
    #[error("terminating connection due to administrator command")]
    Ended,
    /// As PostgreSQL says it.
    #[error("terminating connection due to idle-session timeout")]
    IdleTooLong,
    #[error("terminating connection because notifications for it may have been lost")]
    Deaf,
}

impl ClientError for Interrupted {
    fn sqlstate(&self) -> &'static str {
        match self {
            Interrupted::TimedOut => "57014",
            Interrupted::Closing | Interrupted::Ended | Interrupted::Deaf => sqlstate::ADMIN_SHUTDOWN,
            Interrupted::IdleTooLong => "57P05",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Interrupted::TimedOut => {
                Some("The setting authentication_timeout is how long a client may take to log in.".into())
            }
            Interrupted::Deaf => Some("Connect again, LISTEN, and look what has changed meanwhile.".into()),
            Interrupted::Closing | Interrupted::Ended | Interrupted::IdleTooLong => None,
        }
    }
}

/// Who a connection says it is, for the log.
#[derive(Default)]
struct Claim {
    branch: Option<BranchName>,
    role: Option<String>,
    /// The rule that decides on it, and what that asks for.
    rule: Option<(Place, &'static str)>,
}

impl Claim {
    fn of(identity: &Identity) -> Self {
        Self { branch: Some(identity.branch.clone()), role: Some(identity.role.clone()), rule: None }
    }
}

/// A client that has been let in.
struct LetIn {
    identity: Identity,
    /// The moment of its branch's past that it wants.
    at: Option<String>,
    place: Permit,
}

impl<B> Shared<B> {
    /// Waits until the gateway closes.
    pub(crate) async fn closed(&self) {
        // Without a gateway that could say so it has closed as well.
        let _ = self.closing.clone().wait_for(|closing| *closing).await;
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve<B: Branches, S: ClientStream>(shared: &Shared<B>, mut client: Client<S>, arrival: Arrival) {
    let mut claim = Claim::default();
    let let_in = tokio::select! {
        biased;
        // Boxed: it is the largest part by far, and past for the rest of a session's life.
        let_in = Box::pin(let_in_or_refuse(shared, &mut client, &arrival, &mut claim)) => let_in,
        reached = arrival.admission.displaced() => {
            // Who has not even said who it is, or was refused already, is told nothing.
            if claim.role.is_some() {
                log_refusal(&client.address, &reached, &claim);
                dismiss(&mut client.stream, &reached).await;
            }
            None
        }
    };
    // The connection keeps its place to the end of its socket: who reads its refusal slowly, or never, must not leave
    // room for one more.
    match let_in {
        Some(let_in) => serve_session(shared, client, let_in).await,
        None => drop(client),
    }
    drop(arrival);
}

/// Everything before the server is woken, in its time; who is not let in has been told so after it.
async fn let_in_or_refuse<B: Branches, S: ClientStream>(
    shared: &Shared<B>,
    client: &mut Client<S>,
    arrival: &Arrival,
    claim: &mut Claim,
) -> Option<LetIn> {
    let allowed = match arrival.admission.reached() {
        None => shared.places.limits().authentication_timeout,
        Some(_) => OVERFLOW_TIMEOUT,
    };
    let let_in = tokio::select! {
        biased;
        let_in = timeout_at(arrival.accepted + allowed, let_in(shared, client, arrival, claim)) => let_in.ok(),
        () = shared.closed() => Some(Err(Ended::refused(Interrupted::Closing))),
    };
    // Who has not even said who it is speaks another protocol, or none.
    let late = || Err(if claim.role.is_some() { Ended::refused(Interrupted::TimedOut) } else { Ended::Gone });
    match let_in.unwrap_or_else(late) {
        Ok(let_in) => Some(let_in),
        Err(ended) => {
            end(client, ended, &std::mem::take(claim)).await;
            None
        }
    }
}

/// Everything before the server is woken.
async fn let_in<B: Branches, S: ClientStream>(
    shared: &Shared<B>,
    client: &mut Client<S>,
    arrival: &Arrival,
    claim: &mut Claim,
) -> Result<LetIn, Ended> {
    let tls = shared.tls.borrow().clone();
    let max_bytes = shared.places.limits().max_startup_packet_bytes;
    let startup = match read_opening(client, max_bytes, tls.as_deref()).await? {
        Opening::Startup(startup) => startup,
        Opening::Cancel(key) => {
            shared.cancels.cancel(&key).await;
            // Over TLS an end without a farewell is an error to who waits for it.
            let _ = client.stream.shutdown().await;
            return Err(Ended::Gone);
        }
    };
    if let Some(reached) = arrival.admission.reached() {
        return Err(Ended::refused(reached.clone()));
    }
    arrival.admission.introduced();
    let Startup { minor, parameters, protocol_options } = startup;
    let label = client.tls.as_ref().and_then(|session| session.branch_label.as_deref());
    let entrance = Entrance { door: arrival.door.as_ref(), label };
    let mut route = route(parameters, entrance, &shared.branches.default_branch()).map_err(Ended::refused)?;
    let at = route.at.take();
    *claim = Claim { branch: Some(route.branch.clone()), role: Some(route.role.clone()), rule: None };
    let identity = identify(&*shared.branches, route, minor)?;
    if identity.minor < minor || !protocol_options.is_empty() {
        let mut answer = Vec::new();
        negotiate_protocol_version(&mut answer, identity.minor, &protocol_options);
        client.send(&answer).await?;
    }
    let Identity { branch, role, database, .. } = &identity;
    let facts = tokio::select! {
        biased;
        facts = shared.branches.access(branch, role, database) => facts?,
        // A server that recovers can be asked nothing for long; who waits no more must not keep others from waiting.
        () = client.left() => return Err(Ended::Gone),
    };
    let rules = shared.branches.rules(branch);
    let rule = rule_for(client, &identity, &facts, &rules).await?;
    claim.rule = Some((rule.place.clone(), rule.method.name()));
    authenticate(client, &identity, &facts, (rule, rules.maps()), shared.peers, &shared.mock_secret).await?;
    let (method, rule) = (rule.method.name(), &rule.place);
    tracing::debug!(%branch, role, database, client = client.address, method, %rule, "connection authenticated");
    admit(&facts, role, identity.entered_database()).map_err(Ended::refused)?;
    // Counting looks at every session there is: most logins need none of it.
    if is_limited(&facts) {
        let (of_role, in_database) = shared.registry.crowds(branch, role, database);
        has_room(&facts, of_role, in_database).map_err(Ended::refused)?;
    }
    arrival.admission.authenticated().map_err(Ended::refused)?;
    let place = shared.places.enter(branch, &arrival.admission).map_err(Ended::refused)?;
    Ok(LetIn { place, at, identity })
}

fn identify<B: Branches>(branches: &B, route: Route, minor: u16) -> Result<Identity, Ended> {
    match branches.find(&route.branch) {
        Some(facts) => Ok(Identity::new(route, facts, minor)),
        None => Err(Ended::refused(RouteError::unknown(route.branch, &branches.names()))),
    }
}

/// From let in to the end.
async fn serve_session<B: Branches, S: ClientStream>(shared: &Shared<B>, mut client: Client<S>, let_in: LetIn) {
    let LetIn { mut identity, at, place } = let_in;
    let mut past = None;
    if let Some(at) = at {
        match Box::pin(open_past(shared, &mut client, &identity, &at)).await {
            Ok(Opened { branch, hold }) => {
                identity.goes_to(branch, &at);
                past = Some(hold);
            }
            Err(ended) => return end(&mut client, ended, &Claim::of(&identity)).await,
        }
    }
    let entry = register(shared, &identity, &client, None);
    if client.tls.is_some() {
        entry.record().set_secure();
    }
    let mut session = Session { client, identity, entry, _place: place, past };
    let mut life = Life::new(shared, &mut session);
    let first = Box::pin(life.begin()).await;
    let over = life.live(first).await;
    finish(session, over).await;
}

/// The moment that a client wants instead of its branch. That may take its time.
async fn open_past<B: Branches, S: ClientStream>(
    shared: &Shared<B>,
    client: &mut Client<S>,
    identity: &Identity,
    at: &str,
) -> Result<Opened, Ended> {
    tokio::select! {
        biased;
        opened = shared.branches.open_past(&identity.branch, at, &identity.role) => Ok(opened?),
        () = shared.closed() => Err(Ended::refused(Interrupted::Closing)),
        () = client.left() => Err(Ended::Gone),
    }
}

/// A session that was left by another process, to its end.
pub(crate) async fn take_up<B: Branches, S: ClientStream>(
    shared: &Shared<B>,
    client: Client<S>,
    identity: Identity,
    (applicant, left): (Applicant, LeftBehind),
    (joined, mut go): (oneshot::Sender<()>, watch::Receiver<bool>),
) {
    let Some(admission) = shared.places.admit(applicant).await else { return };
    // There were places for all of them before.
    let _ = admission.authenticated();
    let entry = register(shared, &identity, &client, Some(left.id));
    let place = match shared.places.enter(&identity.branch, &admission) {
        Ok(place) => place,
        Err(reached) => {
            return end(&mut { client }, Ended::refused(reached), &Claim::of(&identity)).await;
        }
    };
    let (branch, database) = (&identity.branch, &identity.database);
    let listener = left.channels().map(|channels| shared.hubs.inherit(branch, database, channels));
    let _ = joined.send(());
    let mut session = Session { client, identity, entry, _place: place, past: None };
    let go = async move {
        let _ = go.wait_for(|go| *go).await;
    };
    let mut life = Life::new(shared, &mut session);
    let first = Box::pin(life.resume(left, listener, go)).await;
    let over = life.live(first).await;
    finish(session, over).await;
    drop(admission);
}

fn register<B, S>(shared: &Shared<B>, identity: &Identity, client: &Client<S>, id: Option<u64>) -> Entry {
    let Identity { branch, database, role, .. } = identity.clone();
    let address = client.address.clone();
    match id {
        Some(id) => shared.registry.add_as(id, branch, database, role, address),
        None => shared.registry.add(branch, database, role, address),
    }
}

/// The client's last words.
async fn finish<S: ClientStream>(session: Session<S>, over: Over) {
    let Session { mut client, entry, identity, .. } = session;
    let claim = Claim::of(&identity);
    let has_heard = match over {
        Over::Gone | Over::Refused(Ended::Gone) => false,
        Over::Listens => true,
        Over::Refused(Ended::Refused(refusal)) => {
            log_refusal(&client.address, &*refusal, &claim);
            tell(&mut client.stream, &*refusal).await
        }
        Over::Words(words) => client.send(&words).await.is_ok(),
    };
    // The session is over and the server may sleep, and the daemon may go on as another program; the client only has its last
    // words to read.
    drop(entry);
    if has_heard {
        linger(&mut client.stream).await;
    }
}

async fn end<S: ClientStream>(client: &mut Client<S>, ended: Ended, claim: &Claim) {
    let Ended::Refused(refusal) = ended else { return };
    log_refusal(&client.address, &*refusal, claim);
    refuse(&mut client.stream, &*refusal).await;
}

fn log_refusal(client: &str, refusal: &dyn ClientError, claim: &Claim) {
    if !may_log(refusal.sqlstate()) {
        return;
    }
    let branch = claim.branch.as_ref().map(BranchName::as_str);
    let (role, sqlstate) = (claim.role.as_deref(), refusal.sqlstate());
    let (rule, method) = claim.rule.as_ref().map(|(place, method)| (place.to_string(), *method)).unzip();
    // As fields, names that clients chose are escaped.
    tracing::info!(branch, role, client, sqlstate, error = refusal.to_string(), rule, method, "connection refused");
}

#[cfg(test)]
mod tests;
