//! Rules about addresses, networks and names, for clients of another machine: decided by a PostgreSQL and by Napgres.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nap_testkit::Chaos;

use crate::client::{Encryption, Knock, Origin};
use crate::compare::Both;
use crate::network::{BEYOND, HERE, on_two_machines};

const FILES: u64 = 60;
const KNOCKS_PER_FILE: u64 = 30;

const ADDRESSES: &[&str] = &[
    "samehost",
    "samehost",
    "samenet",
    "samenet",
    "samenet",
    "all",
    "10.77.0.0/24",
    "10.77.0.2/32",
    "10.77.0.2 255.255.255.254",
    "10.77.0.1/32",
    "10.88.0.0/30",
    "10.99.0.5/32",
    "10.0.0.0/8",
    "127.0.0.0/8",
    "0.0.0.0/0",
    "fd77::/64",
    "fd99::5/128",
    "fd00::/8",
    "::/0",
    "::ffff:10.77.0.2/128",
];
const NAMES: &[&str] = &[
    "near.example.test",
    "near.example.test",
    "NEAR.Example.TEST",
    "near",
    "upper.example.test",
    "six.example.test",
    "far.example.org",
    "honest.dns.test",
    "nobody.dns.test",
    "example.test",
    ".example.test",
    ".test",
    ".TEST",
    ".dns.test",
    "example.",
    ".near.example.test",
    "localhost",
    "\"samenet\"",
    "\"all\"",
];
/// Beyond loopback Napgres wants TLS of everybody whom it lets in, and of `trust` a certificate as well.
const LETS_IN: &[&str] = &[
    "scram-sha-256",
    "scram-sha-256",
    "md5",
    "cert",
    "trust clientcert=verify-full",
    "scram-sha-256 clientcert=verify-ca",
];

fn rule(chaos: &mut Chaos) -> String {
    let address = if chaos.once_in(2) { chaos.pick(NAMES) } else { chaos.pick(ADDRESSES) };
    let role = chaos.pick(&["all", "all", "all", "alice", "bob", "+staff"]);
    if chaos.once_in(3) {
        let kind = chaos.pick(&["host", "hostssl", "hostnossl"]);
        return format!("{kind} all {role} {address} reject");
    }
    format!("hostssl all {role} {address} {}", chaos.pick(LETS_IN))
}

fn knock(chaos: &mut Chaos, addresses: &[IpAddr]) -> Knock {
    let encryption = [Encryption::Plain, Encryption::Tls, Encryption::TlsAlice, Encryption::TlsAlice];
    Knock {
        from: Origin::Address(*chaos.pick(addresses), *chaos.pick(&encryption)),
        role: (*chaos.pick(&["alice", "alice", "bob", "no-such-role"])).to_owned(),
        database: "shop".to_owned(),
        replication: None,
    }
}

fn story() {
    let ipv6 = std::net::TcpListener::bind("[fd77::1]:0").is_ok();
    let mut both = Both::start(if ipv6 { &["0.0.0.0", "::"] } else { &["0.0.0.0"] });
    let mut chaos = Chaos::seed();
    let all = ["127.0.0.1", "::1"].iter().chain(HERE).chain(BEYOND).map(|text| text.parse::<IpAddr>().unwrap());
    let addresses: Vec<IpAddr> = all.filter(|address| ipv6 || !address.is_ipv6()).collect();
    let mut answers = BTreeMap::<IpAddr, BTreeMap<String, u32>>::new();
    let (theirs, ours) = (both.theirs(), both.ours());
    for _ in 0..FILES {
        let rules: Vec<String> = (0..2 + chaos.below(5)).map(|_| rule(&mut chaos)).collect();
        let hba = format!("{}\n{}\n", both.mark(), rules.join("\n"));
        both.write(&hba, "");
        assert_eq!((both.their_errors(), both.our_errors()), (String::new(), String::new()), "{hba}");
        both.reload();
        for _ in 0..KNOCKS_PER_FILE {
            let knock = knock(&mut chaos, &addresses);
            let (their, our) = (knock.at(&theirs), knock.at(&ours));
            assert_eq!(our, their, "{knock:?} by\n{hba}");
            if let Origin::Address(from, _) = knock.from {
                let answer = our.split('"').next().unwrap().to_owned();
                *answers.entry(from).or_default().entry(answer).or_default() += 1;
            }
        }
    }
    println!("{answers:#?}");
    for address in addresses {
        let kinds = answers.get(&address).map_or(0, BTreeMap::len);
        assert!(kinds >= 3, "{address}: one answer in all cases says nothing: {answers:#?}");
    }
}

#[test]
fn slow_clients_of_another_machine_are_decided_alike() {
    on_two_machines("neighbours::slow_clients_of_another_machine_are_decided_alike", story);
}
