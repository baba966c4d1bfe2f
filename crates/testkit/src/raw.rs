//! A client that says what no driver would: any startup parameter, any bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An error that the other end sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawError {
    /// SQLSTATE
    pub code: String,
    /// The primary message.
    pub message: String,
    /// The hint, or nothing.
    pub hint: String,
    /// The detail, or nothing.
    pub detail: String,
}

/// A connection on which the test writes and reads messages itself.
#[derive(Debug)]
pub struct Raw<S>(S);

impl Raw<TcpStream> {
    /// To this port of this machine.
    pub fn tcp(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        stream.set_read_timeout(Some(crate::DEADLINE)).expect("a timeout");
        Self(stream)
    }

    /// Whether the other end closes it within this time.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        self.0.set_read_timeout(Some(time)).expect("a timeout");
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).is_ok()
    }
}

impl Raw<UnixStream> {
    /// To the socket of this port in a directory.
    pub fn unix(directory: &Path, port: u16) -> Self {
        let stream = UnixStream::connect(directory.join(format!(".s.PGSQL.{port}"))).expect("connect");
        stream.set_read_timeout(Some(crate::DEADLINE)).expect("a timeout");
        Self(stream)
    }
}

impl<S: Read + Write> Raw<S> {
    /// Over a stream of the test's own.
    pub fn over(stream: S) -> Self {
        Self(stream)
    }

    /// Sends a startup packet of protocol 3.0 with these parameters.
    #[must_use]
    pub fn start(mut self, parameters: &[(&str, &str)]) -> Self {
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for text in parameters.iter().flat_map(|(name, value)| [name, value]) {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        self.send(&(body.len() as u32 + 4).to_be_bytes());
        self.send(&body);
        self
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the other end reads");
    }

    /// Says goodbye, to whoever may have gone already.
    pub fn leave(&mut self) {
        let _ = self.0.write_all(b"X\0\0\0\x04");
    }

    /// The next message: its tag and its body.
    pub fn message(&mut self) -> std::io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body)?;
        Ok((head[0], body))
    }

    /// Reads until the server is ready for a query, or the error that came instead.
    pub fn ready(&mut self) -> Result<(), RawError> {
        loop {
            match self.message().expect("a message") {
                (b'Z', _) => return Ok(()),
                (b'E', body) => return Err(RawError::read(&body)),
                _ => {}
            }
        }
    }

    /// The first column of the first row of a simple query.
    pub fn ask(&mut self, sql: &str) -> Result<String, RawError> {
        let length = sql.len() as u32 + 5;
        self.send(&[b"Q", &length.to_be_bytes()[..], sql.as_bytes(), b"\0"].concat());
        let (mut value, mut failed) = (String::new(), None);
        loop {
            match self.message().expect("a message") {
                (b'Z', _) => return failed.map_or(Ok(value), Err),
                (b'E', body) => failed = Some(RawError::read(&body)),
                (b'D', body) if value.is_empty() => value = String::from_utf8_lossy(&body[6..]).into_owned(),
                _ => {}
            }
        }
    }
}

impl RawError {
    /// From the body of an ErrorResponse.
    pub fn read(body: &[u8]) -> Self {
        let text = |field: u8| {
            let found = body.split(|byte| *byte == 0).find(|part| part.first() == Some(&field));
            found.map(|part| String::from_utf8_lossy(&part[1..]).into_owned()).unwrap_or_default()
        };
        Self { code: text(b'C'), message: text(b'M'), hint: text(b'H'), detail: text(b'D') }
    }
}
