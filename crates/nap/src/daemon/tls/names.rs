//! The names that our own certificate is for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nap_model::settings::Settings;

/// Names and addresses by which clients reach us. A domain of `sni_domains` stands for all branches below it, so that
/// a new branch needs no new certificate.
pub(super) fn wanted(settings: &Settings) -> BTreeSet<String> {
    let host = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    names(settings, &host)
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
}
