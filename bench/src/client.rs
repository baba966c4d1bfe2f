//! The one client of all contestants: blocking, and no more of the protocol than a first row needs, so that what is
//! compared is servers and gateways, not clients.

use std::io::{BufReader, Error, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

/// No server takes this long.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// No message that we ask for is longer.
const MESSAGE_MAX_BYTES: usize = 64 * 1024;

/// Where to connect, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) door: Door,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) password: Option<String>,
}

/// The socket of a server or gateway.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    Unix(PathBuf),
    Tcp(u16),
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Connects, logs in and asks `select 1`. The first try must be served.
pub(crate) fn first_row(target: &Target) -> Result<()> {
    let mut session = Session::begin(target)?;
    session.ask("select 1")?;
    session.send(Some(b'X'), b"")
}

fn open(door: &Door) -> Result<Box<dyn Stream>, Error> {
    Ok(match door {
        Door::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(READ_TIMEOUT))?;
            Box::new(stream)
        }
        Door::Tcp(port) => {
            let stream = TcpStream::connect(("127.0.0.1", *port))?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(READ_TIMEOUT))?;
            Box::new(stream)
        }
    })
}

/// A session that has logged in.
pub(crate) struct Session {
    stream: BufReader<Box<dyn Stream>>,
}

impl Session {
    /// Connects and logs in.
    pub(crate) fn begin(target: &Target) -> Result<Self> {
        let stream = open(&target.door).with_context(|| format!("{:?}", target.door))?;
        let mut session = Session { stream: BufReader::new(stream) };
        session.startup(target)?;
        let password = target.password.as_deref().unwrap_or_default();
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        loop {
            match session.message()? {
                (b'R', body) => session.authenticate(&mut scram, &body)?,
                (b'Z', _) => return Ok(session),
                (b'E', body) => bail!("{}", String::from_utf8_lossy(&body).replace('\0', " ")),
                _ => {}
            }
        }
    }

    /// Up to the row of a query. What follows it is read with the next one.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<()> {
        self.row(sql).map(drop)
    }

    fn row(&mut self, sql: &str) -> Result<Vec<u8>> {
        self.send(Some(b'Q'), format!("{sql}\0").as_bytes())?;
        loop {
            match self.message()? {
                (b'D', body) => return Ok(body),
                (b'E', body) => bail!("{}", String::from_utf8_lossy(&body).replace('\0', " ")),
                _ => {}
            }
        }
    }

    /// The number in the row of a query.
    pub(crate) fn number(&mut self, sql: &str) -> Result<f64> {
        // So many columns, the length of the first, and its text.
        let row = self.row(sql)?;
        Ok(String::from_utf8_lossy(row.get(6..).unwrap_or_default()).parse()?)
    }

    /// To the end of a command without rows.
    pub(crate) fn command(&mut self, sql: &str) -> Result<()> {
        self.send(Some(b'Q'), format!("{sql}\0").as_bytes())?;
        loop {
            match self.message()? {
                (b'Z', _) => return Ok(()),
                (b'E', body) => bail!("{}", String::from_utf8_lossy(&body).replace('\0', " ")),
                _ => {}
            }
        }
    }

    /// Waits for a notification.
    pub(crate) fn notification(&mut self) -> Result<()> {
        loop {
            match self.message()? {
                (b'A', _) => return Ok(()),
                (b'E', body) => bail!("{}", String::from_utf8_lossy(&body).replace('\0', " ")),
                _ => {}
            }
        }
    }

    fn startup(&mut self, target: &Target) -> Result<()> {
        let mut body = 196_608u32.to_be_bytes().to_vec();
        for text in ["user", &target.user, "database", &target.database] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        self.send(None, &body)
    }

    fn authenticate(&mut self, scram: &mut ScramSha256, body: &[u8]) -> Result<()> {
        let (code, data) = body.split_first_chunk::<4>().context("a short authentication message")?;
        match u32::from_be_bytes(*code) {
            0 => Ok(()),
            10 => {
                let mut answer = SCRAM_SHA_256.as_bytes().to_vec();
                answer.push(0);
                let first = scram.message().to_vec();
                answer.extend_from_slice(&u32::try_from(first.len())?.to_be_bytes());
                answer.extend_from_slice(&first);
                self.send(Some(b'p'), &answer)
            }
            11 => {
                scram.update(data)?;
                let answer = scram.message().to_vec();
                self.send(Some(b'p'), &answer)
            }
            12 => Ok(scram.finish(data)?),
            other => bail!("authentication {other} is asked for; this client knows trust, peer and SCRAM-SHA-256"),
        }
    }

    fn message(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let [kind, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        if !(4..=MESSAGE_MAX_BYTES).contains(&length) {
            bail!("a message of {length} bytes");
        }
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok((kind, body))
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<()> {
        let mut bytes: Vec<u8> = kind.into_iter().collect();
        bytes.extend_from_slice(&u32::try_from(body.len() + 4)?.to_be_bytes());
        bytes.extend_from_slice(body);
        Ok(self.stream.get_mut().write_all(&bytes)?)
    }
}
