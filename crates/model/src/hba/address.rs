//! The address column: where a client may come from.

use std::net::IpAddr;

use super::line::Token;

/// An address of this machine's, and the network it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// The address.
    pub address: IpAddr,
    /// Its netmask.
    pub mask: IpAddr,
}

/// Where a client must come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    All,
    SameHost,
    SameNet,
    Network(Network),
    /// A host's name, or the end of one if it begins with a dot.
    HostName(String),
}

/// Addresses that have some bits in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    mask: IpAddr,
}

impl Address {
    /// `mask` is the field behind, which is asked for only if this one is an address without a prefix length.
    pub(super) fn parse<'t>(token: &Token, mask: impl FnOnce() -> Result<&'t Token, String>) -> Result<Self, String> {
        let keywords = [("all", Self::All), ("samehost", Self::SameHost), ("samenet", Self::SameNet)];
        if let Some((_, address)) = keywords.into_iter().find(|(keyword, _)| token.is_keyword(keyword)) {
            return Ok(address);
        }
        let (text, prefix) = match token.text.split_once('/') {
            Some((text, prefix)) => (text, Some(prefix)),
            None => (token.text.as_str(), None),
        };
        let address = match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) if looks_like_an_address(text) => {
                return Err(format!("invalid IP address \"{text}\": it must be written out, as in 127.0.0.1 or ::1"));
            }
            Err(_) if prefix.is_some() => {
                return Err(format!("specifying both host name and CIDR mask is invalid: \"{}\"", token.text));
            }
            Err(_) => return Ok(Self::HostName(text.to_owned())),
        };
        let mask = match prefix {
            Some(prefix) => {
                mask_of(address, prefix).ok_or_else(|| format!("invalid CIDR mask in address \"{}\"", token.text))?
            }
            None => {
                let mask = &mask()?.text;
                mask.parse().map_err(|_| format!("invalid IP mask \"{mask}\": it must be written out"))?
            }
        };
        if address.is_ipv4() != mask.is_ipv4() {
            return Err("IP address and mask do not match".to_owned());
        }
        Ok(Self::Network(Network { address, mask }))
    }
}

/// Short, octal and hexadecimal forms of addresses, and those with a zone: the C library knows them, and what it makes
/// of them surprises (010.0.0.1 is 8.0.0.1). They are never names of hosts.
fn looks_like_an_address(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    text.contains(':') || last.starts_with(|c: char| c.is_ascii_digit())
}

/// A mask of so many bits.
fn mask_of(address: IpAddr, prefix: &str) -> Option<IpAddr> {
    let bits: u32 = prefix.parse().ok()?;
    match address {
        IpAddr::V4(_) if bits <= 32 => Some(IpAddr::V4(u32::MAX.checked_shl(32 - bits).unwrap_or(0).into())),
        IpAddr::V6(_) if bits <= 128 => Some(IpAddr::V6(u128::MAX.checked_shl(128 - bits).unwrap_or(0).into())),
        _ => None,
    }
}

impl Network {
    pub(super) fn contains(self, client: IpAddr) -> bool {
        match (self.address, self.mask, client) {
            (IpAddr::V4(address), IpAddr::V4(mask), IpAddr::V4(client)) => {
                (address.to_bits() ^ client.to_bits()) & mask.to_bits() == 0
            }
            (IpAddr::V6(address), IpAddr::V6(mask), IpAddr::V6(client)) => {
                (address.to_bits() ^ client.to_bits()) & mask.to_bits() == 0
            }
            _ => false,
        }
    }

    /// Whether nobody beyond this machine can have one of its addresses.
    pub(super) fn is_loopback(self) -> bool {
        match (self.address, self.mask) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => address.is_loopback() && mask.octets()[0] == 255,
            (IpAddr::V6(address), IpAddr::V6(mask)) => address.is_loopback() && mask.to_bits() == u128::MAX,
            _ => false,
        }
    }
}

impl Interface {
    pub(super) fn has(self, client: IpAddr) -> bool {
        self.address == client
    }

    pub(super) fn network_has(self, client: IpAddr) -> bool {
        Network { address: self.address, mask: self.mask }.contains(client)
    }
}

/// Whether a rule's host name means this one: the same but for case, or its end if the rule's begins with a dot.
pub(super) fn host_name_matches(wanted: &str, actual: &str) -> bool {
    let (wanted, actual) = (wanted.as_bytes(), actual.as_bytes());
    if wanted.first() == Some(&b'.') {
        let end = actual.len().checked_sub(wanted.len()).and_then(|start| actual.get(start..));
        return end.is_some_and(|end| end.eq_ignore_ascii_case(wanted));
    }
    actual.eq_ignore_ascii_case(wanted)
}
