//! A client that is told when its connection is lost, and fails when it is told nothing.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nap_testkit::{RawError, TestHome};

/// Whatever is sent is answered within this time, or the connection closed. A wake may wait for a server that recovers.
const DEADLINE: Duration = Duration::from_secs(60);
/// The pause before a daemon that is not there is tried again.
const PAUSE: Duration = Duration::from_millis(20);
/// What a server that goes says, one that is full of those that have not gone yet, and we when one was killed while it started.
const PASSING: [&str; 6] = ["57P01", "57P02", "57P03", "53300", "08006", "58000"];

/// The connection is lost.
#[derive(Debug)]
pub(crate) struct Gone;

pub(crate) struct Client {
    stream: UnixStream,
    heard: Vec<(usize, u64)>,
}

/// `WRITER N`
pub(crate) fn number(text: &str) -> Option<(usize, u64)> {
    let (writer, n) = text.split_once(' ')?;
    Some((writer.parse().ok()?, n.parse().ok()?))
}

impl Client {
    /// As soon as somebody lets it in.
    pub(crate) fn connect(home: &TestHome, branch: &str) -> Self {
        let path = home.socket_directory().join(format!(".s.PGSQL.{}", home.port()));
        let began = std::time::Instant::now();
        loop {
            assert!(began.elapsed() < DEADLINE, "nobody lets it in");
            if let Ok(stream) = UnixStream::connect(&path) {
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut client = Self { stream, heard: Vec::new() };
                if client.log_in(branch).is_ok() {
                    return client;
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn log_in(&mut self, branch: &str) -> Result<(), Gone> {
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        body.extend_from_slice(format!("user\0postgres\0database\0postgres@{branch}\0\0").as_bytes());
        self.send(None, &body)?;
        self.until_ready()
    }

    fn send(&mut self, tag: Option<u8>, body: &[u8]) -> Result<(), Gone> {
        let mut bytes: Vec<u8> = tag.into_iter().collect();
        bytes.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        bytes.extend_from_slice(body);
        self.stream.write_all(&bytes).map_err(|_| Gone)
    }

    /// To the end of the answer.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<(), Gone> {
        self.send(Some(b'Q'), format!("{sql}\0").as_bytes())?;
        self.until_ready()
    }

    fn until_ready(&mut self) -> Result<(), Gone> {
        loop {
            match self.message()? {
                (b'Z', _) => return Ok(()),
                (b'A', body) => drop(self.take(&body)),
                _ => {}
            }
        }
    }

    /// The next notification.
    pub(crate) fn hear(&mut self) -> Result<String, Gone> {
        loop {
            if let (b'A', body) = self.message()? {
                return Ok(self.take(&body));
            }
        }
    }

    fn take(&mut self, body: &[u8]) -> String {
        let mut texts = body[4..].split(|byte| *byte == 0).skip(1);
        let payload = String::from_utf8_lossy(texts.next().unwrap()).into_owned();
        self.heard.extend(number(&payload));
        payload
    }

    fn message(&mut self) -> Result<(u8, Vec<u8>), Gone> {
        let mut head = [0; 5];
        self.read(&mut head)?;
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        let mut body = vec![0; length - 4];
        self.read(&mut body)?;
        if head[0] == b'E' {
            let error = RawError::read(&body);
            assert!(PASSING.contains(&error.code.as_str()), "{error:?}");
            return Err(Gone);
        }
        Ok((head[0], body))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), Gone> {
        self.stream.read_exact(into).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => panic!("neither an answer nor an end within {DEADLINE:?}"),
            _ => Gone,
        })
    }

    /// All numbers that it was told of, in order.
    pub(crate) fn heard(self) -> Vec<(usize, u64)> {
        self.heard
    }
}
