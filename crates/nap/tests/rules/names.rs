//! A name server whose names are true, or not: whoever owns an address can give it any name.

use std::net::UdpSocket;

/// Addresses (as their names are asked for) and their names.
const NAMES: &[(&str, &str)] = &[
    ("4.0.77.10.in-addr.arpa", "honest.dns.test"),
    // Says that it is another, whose address /etc/hosts knows.
    ("5.0.77.10.in-addr.arpa", "near.example.test"),
    // A name that has no address.
    ("6.0.77.10.in-addr.arpa", "nobody.dns.test"),
];
/// Names and their addresses.
const ADDRESSES: &[(&str, [u8; 4])] = &[("honest.dns.test", [10, 77, 0, 4])];

const TYPE_ADDRESS: u16 = 1;
const TYPE_NAME: u16 = 12;

/// It answers on loopback until the process ends.
pub struct Names;

impl Names {
    pub fn serve() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((count, from)) = socket.recv_from(&mut query) {
                let _ = socket.send_to(&answer(&query[..count]), from);
            }
        });
        Self
    }
}

fn answer(query: &[u8]) -> Vec<u8> {
    let (mut name, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let length = usize::from(query[at]);
        name.push(String::from_utf8_lossy(&query[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    let (name, asked) = (name.join("."), u16::from_be_bytes([query[at + 1], query[at + 2]]));
    let is_known = NAMES.iter().any(|(known, _)| *known == name) || ADDRESSES.iter().any(|(known, _)| *known == name);
    let data = match asked {
        TYPE_NAME => NAMES.iter().find(|(known, _)| *known == name).map(|(_, name)| in_labels(name)),
        TYPE_ADDRESS => ADDRESSES.iter().find(|(known, _)| *known == name).map(|(_, address)| address.to_vec()),
        _ => None,
    };
    // An answer, recursion was wanted and is there; without the name it is an error.
    let flags: u16 = if is_known { 0x8180 } else { 0x8183 };
    let mut said = query[..2].to_vec();
    for word in [flags, 1, u16::from(data.is_some()), 0, 0] {
        said.extend_from_slice(&word.to_be_bytes());
    }
    said.extend_from_slice(&query[12..at + 5]);
    if let Some(data) = data {
        // The name of the question, class IN, not to be kept.
        said.extend_from_slice(&[0xc0, 12]);
        said.extend_from_slice(&asked.to_be_bytes());
        said.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
        said.extend_from_slice(&(data.len() as u16).to_be_bytes());
        said.extend_from_slice(&data);
    }
    said
}

fn in_labels(name: &str) -> Vec<u8> {
    let mut labels: Vec<u8> =
        name.split('.').flat_map(|label| std::iter::once(label.len() as u8).chain(label.bytes())).collect();
    labels.push(0);
    labels
}
