//! Clients that knock and look at the first answer: as any user of this system, from any loopback address or
//! any of a network of the test's own, with and without TLS.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nap_testkit::{DEADLINE, Raw, RawError, is_root};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;
use socket2::{Domain, Socket, Type};

use crate::{network, tls};

/// Where a server can be found.
#[derive(Debug, Clone)]
pub struct Place {
    pub directory: PathBuf,
    pub port: u16,
}

/// How a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Through the Unix socket, as this user.
    User(u32),
    /// Over TCP, from this address.
    Address(IpAddr, Encryption),
}

/// What a TCP client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    Plain,
    Tls,
    /// With a certificate in the name of `alice`.
    TlsAlice,
}

/// A connection that is asked for.
#[derive(Debug, Clone)]
pub struct Knock {
    pub from: Origin,
    pub role: String,
    pub database: String,
    /// What `replication` says, if anything.
    pub replication: Option<&'static str>,
}

impl Knock {
    /// What the server says to it: `in`, `SASL`, or how it refuses.
    pub fn at(&self, place: &Place) -> String {
        match self.from {
            Origin::User(uid) => self.start(Raw::over(unix(&place.directory, place.port, uid))),
            Origin::Address(from, Encryption::Plain) => self.start(Raw::over(tcp(from, place.port))),
            Origin::Address(from, encryption) => {
                self.start(Raw::over(tls::connect(tcp(from, place.port), encryption == Encryption::TlsAlice)))
            }
        }
    }

    fn start<S: std::io::Read + std::io::Write>(&self, raw: Raw<S>) -> String {
        let mut parameters = vec![("user", self.role.as_str()), ("database", self.database.as_str())];
        parameters.extend(self.replication.map(|value| ("replication", value)));
        let mut raw = raw.start(&parameters);
        loop {
            match raw.message().unwrap() {
                (b'R', body) if body[..4] == [0, 0, 0, 10] => return "SASL".to_owned(),
                (b'R', body) if body[..4] != [0; 4] => return format!("another method: {body:?}"),
                (b'E', body) => {
                    let RawError { code, message, .. } = RawError::read(&body);
                    return format!("{code}: {message}");
                }
                (b'Z', _) => {
                    raw.send(b"X\0\0\0\x04");
                    return "in".to_owned();
                }
                _ => {}
            }
        }
    }
}

/// The kernel tells the other end whose thread connected.
fn unix(directory: &Path, port: u16, uid: u32) -> UnixStream {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    let connect = move || {
        if is_root() && uid != 0 {
            let uid = Uid::from_raw(uid);
            set_thread_res_uid(uid, uid, uid).unwrap();
        }
        UnixStream::connect(path).unwrap()
    };
    let stream = std::thread::spawn(connect).join().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn tcp(from: IpAddr, port: u16) -> TcpStream {
    let stream = if from.is_loopback() { loopback(from, port) } else { network::tcp(from, port) };
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn loopback(from: IpAddr, port: u16) -> TcpStream {
    let to: IpAddr = if from.is_ipv6() { "::1".parse().unwrap() } else { "127.0.0.1".parse().unwrap() };
    connect(from, to, port)
}

/// Over TCP, from this address to that.
pub fn connect(from: IpAddr, to: IpAddr, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::for_address((to, port).into()), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&SocketAddr::from((to, port)).into()).unwrap();
    TcpStream::from(socket)
}
