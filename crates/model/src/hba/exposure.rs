//! Rules that must not hold where others than this machine's own clients can come.

use std::net::IpAddr;

use super::Rules;
use super::address::Address;
use super::problem::Problem;
use super::rule::{ClientCertificate, ConnectionType, Method, Rule};

/// Whether others than this machine's own clients can come to one of these addresses.
pub fn beyond_loopback(addresses: &[String]) -> bool {
    let is_loopback = |address: &str| address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    addresses.iter().any(|address| address != "localhost" && !is_loopback(address))
}

/// The rules that would let somebody beyond this machine in without encryption, or without any proof. They are refused
/// where the daemon listens on other addresses than loopback.
pub fn exposed(rules: &Rules) -> Vec<Problem> {
    let problem = |rule: &Rule| {
        let message = rule.exposes()?;
        Some(Problem { place: rule.place.clone(), message: message.to_owned() })
    };
    rules.iter().filter_map(problem).collect()
}

impl Rule {
    fn exposes(&self) -> Option<&'static str> {
        let inside = match &self.address {
            Address::SameHost => true,
            Address::Network(network) => network.is_loopback(),
            Address::All | Address::SameNet | Address::HostName(_) => false,
        };
        if inside || self.method == Method::Reject {
            return None;
        }
        match self.connection {
            ConnectionType::Local | ConnectionType::HostGssEnc => None,
            ConnectionType::HostSsl if self.method != Method::Trust => None,
            // A certificate in the role's name is proof enough.
            ConnectionType::HostSsl if self.client_certificate == ClientCertificate::VerifyFull => None,
            ConnectionType::HostSsl => Some("trust would let anybody in from beyond this machine"),
            ConnectionType::Host | ConnectionType::HostNoSsl | ConnectionType::HostNoGssEnc => {
                Some("this lets clients from beyond this machine in without TLS: write hostssl")
            }
        }
    }
}
