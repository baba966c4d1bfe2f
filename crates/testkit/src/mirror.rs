//! A web server of a test's own that gives away archives of PostgreSQL, well or badly.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How a path is answered. All others are not found.
#[derive(Debug, Clone)]
pub enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and then the end of the connection, though more were announced.
    CutOff(Vec<u8>),
    /// These bytes, and then nothing more, though more were announced.
    Stalled(Vec<u8>),
    /// Nothing at all.
    Silence,
    /// This status.
    Status(u16),
}

/// It listens on a loopback port as long as the test's process lives.
#[derive(Debug, Clone)]
pub struct Mirror {
    address: SocketAddr,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    /// Connections that are to stay open.
    kept: Arc<Mutex<Vec<TcpStream>>>,
}

impl Default for Mirror {
    fn default() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let mirror = Self { address, replies: Arc::default(), kept: Arc::default() };
        let server = mirror.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.answer(stream));
            }
        });
        mirror
    }
}

impl Mirror {
    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers this path so from now on.
    pub fn set(&self, path: &str, reply: Reply) {
        self.replies.lock().expect("replies").insert(path.to_owned(), reply);
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().expect("the stream")).lines();
        let Some(Ok(request)) = lines.next() else { return };
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let path = request.split(' ').nth(1).unwrap_or_default();
        let reply = self.replies.lock().expect("replies").get(path).cloned().unwrap_or(Reply::Status(404));
        // Who is killed in the middle is no failure of ours.
        let _ = match &reply {
            Reply::Bytes(bytes) => respond(&mut stream, 200, bytes, bytes.len()),
            Reply::CutOff(bytes) | Reply::Stalled(bytes) => respond(&mut stream, 200, bytes, bytes.len() + 100_000),
            Reply::Status(status) => respond(&mut stream, *status, b"", 0),
            Reply::Silence => Ok(()),
        };
        if matches!(reply, Reply::Silence | Reply::Stalled(_)) {
            self.kept.lock().expect("streams").push(stream);
        }
    }
}

fn respond(stream: &mut TcpStream, status: u16, bytes: &[u8], announced: usize) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {announced}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(bytes)?;
    stream.flush()
}
