//! What rules ask of this machine: its own addresses, and the names of others'.

use std::net::{IpAddr, ToSocketAddrs};

use nap_model::hba::{Interface, Look, Seen};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use tokio::sync::Semaphore;

/// How many names are looked up at once. Each takes a thread for as long as name servers take to answer.
const LOOKUPS_MAX: usize = 32;

static LOOKUPS: Semaphore = Semaphore::const_new(LOOKUPS_MAX);

/// Looks up what is needed to decide on a client from this address. What cannot be found out is not there.
pub(super) async fn look(look: Look, client: IpAddr, seen: &mut Seen) {
    match look {
        Look::Interfaces => seen.interfaces = Some(interfaces()),
        Look::HostName => seen.host_name = Some(host_name(client).await),
    }
}

fn interfaces() -> Vec<Interface> {
    let found = match getifaddrs() {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses: samehost and samenet match nobody");
            return Vec::new();
        }
    };
    let ip = |address: Option<SockaddrStorage>| {
        let address = address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    found
        .filter_map(|interface| Some(Interface { address: ip(interface.address)?, mask: ip(interface.netmask)? }))
        .collect()
}

/// The name that this address has, if that name in turn has this address: whoever owns an address can give it any name,
/// but not the name any address.
async fn host_name(client: IpAddr) -> Option<String> {
    let permit = LOOKUPS.acquire().await.ok()?;
    let looked_up = tokio::task::spawn_blocking(move || {
        // Kept to the end of the lookup, which a client that has left does not end.
        let _permit = permit;
        let name = dns_lookup::lookup_addr(&client).ok()?;
        let mut addresses = (name.as_str(), 0).to_socket_addrs().ok()?;
        addresses.any(|address| address.ip() == client).then_some(name)
    });
    looked_up.await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_one_of_ours() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(interfaces().iter().any(|interface| interface.address == loopback), "{:?}", interfaces());
    }

    #[tokio::test]
    async fn a_name_that_has_the_address_counts() {
        let name = host_name(IpAddr::from([127, 0, 0, 1])).await;
        assert!(name.as_ref().is_some_and(|name| name.starts_with("localhost")), "{name:?}");
    }
}
