//! The names that our own certificate is for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nap_model::ids::BranchName;
use nap_model::settings::Settings;

/// Below a domain of one label each branch has a name in the certificate, up to this many: that is some 10 kB in each
/// handshake, where Java takes no message of more than 32 kB. Who has more branches gives `sni_domains` a domain with a
/// dot in it.
const BRANCHES_MAX: usize = 200;

/// Names and addresses by which clients reach us. A domain of `sni_domains` stands for all branches below it. Most
/// clients do not take `*.localhost` for that (OpenSSL, Node, rustls: no wildcard directly below the top), so there each
/// branch is named.
pub(super) fn wanted(settings: &Settings, branches: &[BranchName]) -> BTreeSet<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let mut names = names(settings, &host);
    for domain in settings.sni_domains.iter().filter(|domain| !domain.contains('.')) {
        let below = |branch: &BranchName| format!("{branch}.{}", domain.to_ascii_lowercase());
        if let Some(first) = branches.get(BRANCHES_MAX) {
            tracing::warn!(
                %domain,
                from = %first,
                "the certificate has a name for {BRANCHES_MAX} branches: give sni_domains a domain with a dot in it, \
                 nap.localhost say, whose wildcard clients take for all"
            );
        }
        names.extend(branches.iter().take(BRANCHES_MAX).map(below));
    }
    names
}

fn names(settings: &Settings, host: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.extend(Some(host.to_owned()).filter(|host| is_host(host)));
    for domain in settings.sni_domains.iter().map(|domain| domain.to_ascii_lowercase()) {
        names.insert(format!("*.{domain}"));
        names.insert(domain);
    }
    for address in &settings.listen_addresses {
        match address.parse::<IpAddr>() {
            // Every address of the machine: the host's name stands for them.
            Ok(ip) if ip.is_unspecified() => {}
            Ok(ip) => drop(names.insert(ip.to_string())),
            Err(_) => names.extend(Some(address.to_ascii_lowercase()).filter(|name| is_host(name))),
        }
    }
    names
}

fn is_host(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_reach_us_is_named_once() {
        let settings = Settings {
            listen_addresses: ["0.0.0.0", "::", "192.0.2.7", "DB.example", "localhost"].map(str::to_owned).to_vec(),
            sni_domains: vec!["localhost".into(), "Dev.example".into()],
            ..Settings::default()
        };
        let wanted = [
            "*.dev.example",
            "*.localhost",
            "127.0.0.1",
            "192.0.2.7",
            "::1",
            "db.example",
            "dev.example",
            "localhost",
            "wolke",
        ];
        assert_eq!(names(&settings, "wolke"), wanted.map(str::to_owned).into());
        assert!(!names(&settings, "(none)").contains("(none)"), "a machine that has no name");
    }

    #[test]
    fn branches_are_named_where_a_wildcard_would_not_do() {
        let settings = Settings { sni_domains: vec!["localhost".into(), "dev.example".into()], ..Settings::default() };
        let branches: Vec<BranchName> = (100..400).map(|number| format!("b{number}").parse().unwrap()).collect();
        let named = wanted(&settings, &branches);
        assert!(named.contains("b100.localhost") && !named.contains("b100.dev.example"));
        let below = named.iter().filter(|name| name.starts_with('b') && name.ends_with(".localhost"));
        assert_eq!(below.count(), BRANCHES_MAX);
    }
}
