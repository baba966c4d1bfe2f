//! Who has to make room when all places are taken. Of those who have not proved who they are, whoever holds the most
//! gives up his oldest, after a time that is long enough to log in: a flood from one address displaces itself, and
//! half-open connections keep nobody out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

/// Whose share a connection counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Share {
    /// An IPv4 address, or an IPv6 network of 64 bits: what one host is mostly given as a whole.
    Address(IpAddr),
    /// A user of this machine, through a Unix socket.
    User(u32),
}

impl Share {
    pub(crate) fn of_address(address: IpAddr) -> Self {
        Share::Address(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
            address => address,
        })
    }
}

/// All connections that may have to make room. There are as many as there are places, no more.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    last_number: u64,
    /// In the order they came: the lowest number is the oldest.
    shares: HashMap<Share, BTreeMap<u64, Waiting>>,
    /// The last one makes room: the largest share, and of equals the one whose oldest has come first.
    order: BTreeSet<(usize, Reverse<u64>, Share)>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    displaced: Arc<Notify>,
}

/// What came of asking for room.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// One was told to go.
    Told,
    /// The one whose turn it is has until then.
    NotBefore(Instant),
    /// There is none that could go.
    Nobody,
}

/// A connection that may have to make room, until it is dropped.
#[derive(Debug)]
pub(super) struct Member {
    shares: Shares,
    share: Share,
    /// Written with the table locked.
    number: AtomicU64,
    displaced: Arc<Notify>,
}

impl Shares {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, share: Share) -> Member {
        let displaced = Arc::<Notify>::default();
        let mut table = self.table();
        table.last_number += 1;
        let number = table.last_number;
        table.change(share, |members| {
            members.insert(number, Waiting { since: Instant::now(), displaced: displaced.clone() })
        });
        Member { shares: self.clone(), share, number: number.into(), displaced }
    }

    /// Tells one to go, if it has been there for `grace`.
    pub(super) fn make_room(&self, grace: Duration) -> Asked {
        let mut table = self.table();
        let Some((_, Reverse(oldest), share)) = table.order.last().copied() else { return Asked::Nobody };
        let since = table.shares.get(&share).and_then(|members| Some(members.get(&oldest)?.since));
        if let Some(until) = since.map(|since| since + grace).filter(|until| *until > Instant::now()) {
            return Asked::NotBefore(until);
        }
        if let Some(waiting) = table.change(share, |members| members.remove(&oldest)) {
            waiting.displaced.notify_one();
        }
        Asked::Told
    }

    /// Whether there is nobody.
    pub(super) fn is_empty(&self) -> bool {
        let table = self.table();
        table.shares.is_empty() && table.order.is_empty()
    }
}

impl Table {
    fn change<R>(&mut self, share: Share, change: impl FnOnce(&mut BTreeMap<u64, Waiting>) -> R) -> R {
        let members = self.shares.entry(share).or_default();
        if let Some((oldest, _)) = members.first_key_value() {
            self.order.remove(&(members.len(), Reverse(*oldest), share));
        }
        let changed = change(members);
        match members.first_key_value() {
            Some((oldest, _)) => {
                self.order.insert((members.len(), Reverse(*oldest), share));
            }
            None => {
                self.shares.remove(&share);
            }
        }
        changed
    }
}

impl Member {
    /// Waits until it is told to go.
    pub(super) async fn displaced(&self) {
        self.displaced.notified().await;
    }

    /// It has said something that makes sense: those who say nothing go before it.
    pub(super) fn renew(&self) {
        let mut table = self.shares.table();
        table.last_number += 1;
        let newest = table.last_number;
        let number = self.number.load(Ordering::Relaxed);
        table.change(self.share, |members| {
            if let Some(waiting) = members.remove(&number) {
                members.insert(newest, Waiting { since: Instant::now(), ..waiting });
                self.number.store(newest, Ordering::Relaxed);
            }
        });
    }

    /// It need not make room any more. `false`: it was told to already.
    pub(super) fn leave(&self) -> bool {
        let mut table = self.shares.table();
        let number = self.number.load(Ordering::Relaxed);
        table.change(self.share, |members| members.remove(&number)).is_some()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Share {
        Share::of_address(text.parse().unwrap())
    }

    fn is_told(member: &Member) -> bool {
        std::pin::pin!(member.displaced.notified()).as_mut().enable()
    }

    #[test]
    fn an_ipv6_network_is_one_share() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("10.0.0.2"), address("10.0.0.1"));
    }

    #[test]
    fn the_largest_share_gives_up_its_oldest() {
        let shares = Shares::default();
        let came = ["10.0.0.1", "10.0.0.9", "10.0.0.9", "10.0.0.2", "10.0.0.9"];
        let members: Vec<_> = came.into_iter().map(|from| shares.join(address(from))).collect();
        let mut gone = Vec::new();
        while shares.make_room(Duration::ZERO) == Asked::Told {
            gone.push(members.iter().position(is_told).unwrap());
        }
        // Three of .9, two, and of the equals the one that came first.
        assert_eq!(gone, [1, 2, 0, 3, 4]);
        assert!(members.iter().all(|member| !member.leave()), "who was told to go knows it");
        assert!(shares.is_empty());
    }

    #[test]
    fn who_says_nothing_goes_before_who_does() {
        let shares = Shares::default();
        let members: Vec<_> = ["10.0.0.1", "10.0.0.2"].map(|from| shares.join(address(from))).into();
        members[0].renew();
        assert_eq!(shares.make_room(Duration::ZERO), Asked::Told);
        assert!(is_told(&members[1]) && !is_told(&members[0]));
        members[1].renew();
        assert!(!members[1].leave(), "who was told to go stays told");
        assert!(members[0].leave());
        assert!(shares.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_time_to_log_in() {
        let (shares, grace) = (Shares::default(), Duration::from_millis(250));
        let member = shares.join(Share::User(7));
        let until = Instant::now() + grace;
        assert_eq!(shares.make_room(grace), Asked::NotBefore(until));
        assert!(!is_told(&member));
        tokio::time::sleep_until(until).await;
        assert_eq!(shares.make_room(grace), Asked::Told);
        assert!(is_told(&member));
    }

    #[test]
    fn who_has_left_need_not_make_room() {
        let shares = Shares::default();
        let stays = shares.join(Share::User(7));
        assert!(stays.leave());
        drop(shares.join(Share::User(8)));
        assert_eq!(shares.make_room(Duration::ZERO), Asked::Nobody);
        assert!(!is_told(&stays));
        assert!(shares.is_empty());
    }
}
