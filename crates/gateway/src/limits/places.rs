//! The places themselves: who gets one, and who has to leave for it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use nap_model::ids::BranchName;
use tokio::sync::watch;
use tokio::time::{Duration, sleep_until};

use crate::authenticate::Peers;
use crate::client::Origin;

use super::counter::{Counter, Permit};
use super::shares::{Asked, Member, Share, Shares};
use super::{LimitReached, Limits};

/// Connections beyond every limit that are still read, for a cancel request or to say why they are refused. Each
/// lives for seconds at most and costs one startup packet; a newer one displaces an older.
const OVERFLOW_MAX: u32 = 64;
/// What everybody has to log in before somebody else can have the place: many times what it takes on this machine or a
/// near one, with a password's hash. Together with `max_connections` it says how fast a flood is let in: 1,000 a
/// second by default; who comes faster waits in the kernel's queue.
const LOGIN_GRACE: Duration = Duration::from_secs(1);
/// The same for one startup packet.
const OVERFLOW_GRACE: Duration = Duration::from_millis(50);
/// Places that only the home's owner and root can take, on Unix sockets, when all others are taken: in all, and in each
/// branch. As PostgreSQL's superuser_reserved_connections (3) do, they let one in who can help; `nap psql` and a few
/// tools at once.
const RESERVED_FOR_OWNER: u32 = 16;

/// Who asks for a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applicant {
    pub(crate) share: Share,
    /// On a Unix socket, the home's owner or root.
    pub(crate) is_owner: bool,
}

impl Applicant {
    /// By TCP.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self { share: Share::of_address(address), is_owner: false }
    }

    /// By a Unix socket.
    pub(crate) fn of_user(uid: u32, peers: Peers) -> Self {
        Self { share: Share::User(uid), is_owner: uid == 0 || uid == peers.owner_uid }
    }

    /// By either.
    pub(crate) fn of(origin: Origin, peers: Peers) -> Self {
        match origin {
            Origin::Tcp { remote, .. } => Self::of_address(remote.ip()),
            Origin::Unix { uid } => Self::of_user(uid, peers),
        }
    }

    fn limit(&self, limit: u32) -> u32 {
        if self.is_owner { limit.saturating_add(RESERVED_FOR_OWNER) } else { limit }
    }
}

/// What a fresh connection gets: a place until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    applicant: Applicant,
    /// It may send a cancel request; anything else is refused for this reason.
    reached: Option<LimitReached>,
    /// Before the place itself, or it could be told to make room when it has.
    member: Member,
    max_connections: u32,
    _place: Permit,
}

impl Admission {
    /// Why it may not log in.
    pub(crate) fn reached(&self) -> Option<&LimitReached> {
        self.reached.as_ref()
    }

    /// Waits until somebody else needs the place: who gets this must leave at once. Never, once it has authenticated.
    pub(crate) async fn displaced(&self) -> LimitReached {
        self.member.displaced().await;
        self.made_room()
    }

    /// It has said who it is: those who say nothing make room first.
    pub(crate) fn introduced(&self) {
        self.member.renew();
    }

    /// It has proved who it is, and keeps its place, unless that has just been given to somebody else.
    pub(crate) fn authenticated(&self) -> Result<(), LimitReached> {
        if self.member.leave() { Ok(()) } else { Err(self.made_room()) }
    }

    fn made_room(&self) -> LimitReached {
        LimitReached::MadeRoom { limit: self.max_connections }
    }
}

/// Places of one kind, and those who hold them without having proved who they are.
struct Room {
    taken: Counter,
    unproved: Shares,
    grace: Duration,
}

impl Room {
    fn new(grace: Duration) -> Self {
        Self { taken: Counter::default(), unproved: Shares::default(), grace }
    }

    /// A place: a free one, or that of somebody who makes room for it. It comes when the other's socket is closed, so
    /// there are never more sockets than places, however fast they come.
    async fn enter(&self, applicant: Applicant, limit: u32) -> Option<(Permit, Member)> {
        loop {
            let mut given_back = std::pin::pin!(self.taken.given_back());
            given_back.as_mut().enable();
            if let Some(place) = self.taken.take(limit) {
                return Some((place, self.unproved.join(applicant.share)));
            }
            match self.unproved.make_room(self.grace) {
                Asked::Told => given_back.await,
                Asked::NotBefore(until) => tokio::select! {
                    () = given_back => {}
                    () = sleep_until(until) => {}
                },
                Asked::Nobody => return None,
            }
        }
    }
}

/// All places of the gateway.
pub(crate) struct Places {
    limits: watch::Receiver<Limits>,
    connections: Room,
    overflow: Room,
    waiting: Counter,
    branches: Mutex<HashMap<BranchName, Counter>>,
}

impl Places {
    pub(crate) fn new(limits: watch::Receiver<Limits>) -> Self {
        Self {
            limits,
            connections: Room::new(LOGIN_GRACE),
            overflow: Room::new(OVERFLOW_GRACE),
            waiting: Counter::default(),
            branches: Mutex::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.borrow()
    }

    /// `None`: not even its startup packet can be read.
    pub(crate) async fn admit(&self, applicant: Applicant) -> Option<Admission> {
        let max_connections = self.limits().max_connections;
        let (entered, reached) = match self.connections.enter(applicant, applicant.limit(max_connections)).await {
            Some(entered) => (entered, None),
            None => {
                let entered = self.overflow.enter(applicant, OVERFLOW_MAX).await?;
                (entered, Some(LimitReached::Connections { limit: max_connections }))
            }
        };
        let (place, member) = entered;
        Some(Admission { applicant, reached, member, max_connections, _place: place })
    }

    /// A place in a branch that exists.
    pub(crate) fn enter(&self, branch: &BranchName, admission: &Admission) -> Result<Permit, LimitReached> {
        let limit = self.limits().max_connections_per_branch;
        let mut branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        if !branches.contains_key(branch) {
            // Branches come and go: those without connections need no counter.
            branches.retain(|_, counter| !counter.is_unused());
        }
        let counter = branches.entry(branch.clone()).or_default();
        let place = counter.take(admission.applicant.limit(limit));
        place.ok_or_else(|| LimitReached::Branch { branch: branch.clone(), limit })
    }

    /// Whether there is somebody who has not proved yet who it is.
    pub(crate) fn somebody_logs_in(&self) -> bool {
        !self.connections.unproved.is_empty()
    }

    /// Whether nobody holds a place of any kind.
    #[cfg(test)]
    pub(crate) fn are_free(&self) -> bool {
        let branches = self.branches.lock().unwrap_or_else(PoisonError::into_inner);
        let all = [&self.connections.taken, &self.overflow.taken, &self.waiting];
        all.into_iter().chain(branches.values()).all(Counter::is_unused)
            && self.connections.unproved.is_empty()
            && self.overflow.unproved.is_empty()
    }

    /// A place among those that wait for a server.
    pub(crate) fn wait(&self) -> Result<Permit, LimitReached> {
        let limit = self.limits().max_waiting_clients;
        self.waiting.take(limit).ok_or(LimitReached::Waiting { limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_model::client_error::ClientError;
    use nap_model::settings::Settings;
    use tokio::time::timeout;

    const SOMEBODY: Applicant = Applicant { share: Share::User(1), is_owner: false };
    const OWNER: Applicant = Applicant { share: Share::User(7), is_owner: true };

    fn places(max_connections: u32) -> (watch::Sender<Limits>, Places) {
        let limits = Limits { max_connections, ..Limits::from(&Settings::default()) };
        let (sender, receiver) = watch::channel(limits);
        (sender, Places::new(receiver))
    }

    /// Whoever it is has proved it.
    async fn session(places: &Places, applicant: Applicant) -> Admission {
        let admission = places.admit(applicant).await.unwrap();
        assert_eq!(admission.reached(), None);
        admission.authenticated().unwrap();
        admission
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_limit_one_is_still_read_and_told_why() {
        let (_limits, places) = places(2);
        let held = [session(&places, SOMEBODY).await, session(&places, SOMEBODY).await];
        let over = places.admit(SOMEBODY).await.unwrap();
        assert_eq!(over.reached(), Some(&LimitReached::Connections { limit: 2 }));
        assert!(over.reached().unwrap().hint().unwrap().contains("`nap config set max_connections=N`"));
        drop(held);
        assert_eq!(places.admit(SOMEBODY).await.unwrap().reached(), None, "a place that was left is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_proved_nothing_makes_room_and_only_then_is_there_room() {
        for (max_connections, reached) in [(3, None), (0, Some(LimitReached::Connections { limit: 0 }))] {
            let (_limits, places) = places(max_connections);
            let mut held = std::collections::VecDeque::new();
            for _ in 0..if max_connections == 0 { OVERFLOW_MAX } else { max_connections } {
                held.push_back(places.admit(SOMEBODY).await.unwrap());
            }
            let mut newer = std::pin::pin!(places.admit(SOMEBODY));
            assert!(timeout(Duration::from_millis(20), &mut newer).await.is_err(), "the oldest still has time");
            tokio::time::sleep(LOGIN_GRACE).await;
            assert!(timeout(Duration::from_millis(20), &mut newer).await.is_err(), "the oldest has not left yet");
            let oldest = held.pop_front().unwrap();
            assert_eq!(oldest.authenticated(), Err(LimitReached::MadeRoom { limit: max_connections }));
            assert_eq!(oldest.displaced().await, LimitReached::MadeRoom { limit: max_connections });
            drop(oldest);
            assert_eq!(newer.await.unwrap().reached(), reached.as_ref());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_proved_it_is_left_alone() {
        let (_limits, places) = places(1);
        let held = session(&places, SOMEBODY).await;
        assert!(places.admit(OWNER).await.unwrap().reached().is_none(), "the owner has places of his own");
        assert!(places.admit(SOMEBODY).await.unwrap().reached().is_some());
        assert!(timeout(Duration::from_millis(20), held.displaced()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_counts_from_the_next_taking_on() {
        let (limits, places) = places(1);
        let _held = session(&places, SOMEBODY).await;
        assert!(places.admit(SOMEBODY).await.unwrap().reached().is_some());
        limits.send_modify(|limits| limits.max_connections = 2);
        assert!(places.admit(SOMEBODY).await.unwrap().reached().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_let_in_one_for_one() {
        let (_limits, places) = places(4);
        for number in 0..100 {
            let applicant = if number % 3 == 0 { OWNER } else { SOMEBODY };
            let admission = places.admit(applicant).await.expect("a place");
            assert_eq!(admission.reached(), None, "{number}");
            tokio::spawn(async move {
                admission.displaced().await;
                drop(admission);
            });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn branches_are_counted_apart_and_keep_places_for_the_owner() {
        let (limits, places) = places(10);
        limits.send_modify(|limits| limits.max_connections_per_branch = 1);
        let (somebody, owner) = (session(&places, SOMEBODY).await, session(&places, OWNER).await);
        let one = "one".parse().unwrap();
        let held = places.enter(&one, &somebody).unwrap();
        assert_eq!(places.enter(&one, &somebody).unwrap_err().to_string(), "too many connections for branch \"one\"",);
        let _other = places.enter(&"two".parse().unwrap(), &somebody).unwrap();
        assert!(places.enter(&one, &somebody).is_err(), "a counter in use is not swept");
        let owners: Vec<_> = (0..RESERVED_FOR_OWNER).map(|_| places.enter(&one, &owner).unwrap()).collect();
        assert!(places.enter(&one, &owner).is_err());
        drop((owners, held));
        places.enter(&one, &somebody).unwrap();
    }
}
