use super::*;
use crate::sessions::Registry;
use crate::traffic::Traffic;
use nap_model::ids::BranchName;
use proptest::prelude::*;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex, split};

/// Both ends talk at once, through pipes of `room` bytes; the backend ends when it has heard the client's end.
async fn run(room: usize, greeting: Vec<u8>, asked: Vec<u8>, answered: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let registry = Arc::new(Registry::default());
    let entry = registry.add(BranchName::main(), "d".into(), "r".into(), "local".into());
    let (mut client_side, client) = duplex(room);
    let (mut backend_side, backend) = duplex(room);
    let (mut traffic, begun) = (Traffic::default(), Begun { to_client: greeting, ..Begun::default() });
    let forwarding = forward(&mut client_side, &mut backend_side, begun, &mut traffic, entry.record(), &|_| ());
    let client = async {
        let (mut reader, mut writer) = split(client);
        let mut heard = Vec::new();
        let write = async {
            writer.write_all(&asked).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let _ = tokio::join!(write, reader.read_to_end(&mut heard));
        heard
    };
    let backend = async {
        let (mut reader, mut writer) = split(backend);
        let mut heard = Vec::new();
        let _ = tokio::join!(writer.write_all(&answered), reader.read_to_end(&mut heard));
        writer.shutdown().await.unwrap();
        heard
    };
    let (_, heard_by_client, heard_by_backend) = tokio::join!(forwarding, client, backend);
    (heard_by_client, heard_by_backend)
}

/// Forwards to the end, and tells whether the client may still be reading.
async fn listens<C, B>(client: &mut C, backend: &mut B, record: &Record) -> bool
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    match forward(client, backend, Begun::default(), &mut Traffic::default(), record, &|_| ()).await {
        Stopped::Over { client_listens } => client_listens,
        Stopped::Asked(_) | Stopped::Moves(..) => panic!("nobody asks"),
    }
}

proptest! {
    #[test]
    fn every_byte_arrives_in_order(
        room in 1usize..300,
        greeting in prop::collection::vec(any::<u8>(), 0..500),
        asked in prop::collection::vec(any::<u8>(), 0..2_000),
        answered in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let expected = [greeting.clone(), answered.clone()].concat();
        let (client, backend) = runtime.block_on(run(room, greeting, asked.clone(), answered));
        prop_assert_eq!(client, expected);
        prop_assert_eq!(backend, asked);
    }
}

#[tokio::test]
async fn the_end_of_the_backend_ends_the_client() {
    let registry = Arc::new(Registry::default());
    let entry = registry.add(BranchName::main(), "d".into(), "r".into(), "local".into());
    let (mut client_side, mut client) = duplex(100);
    let (mut backend_side, mut backend) = duplex(100);
    backend.write_all(b"last words").await.unwrap();
    drop(backend);
    assert!(listens(&mut client_side, &mut backend_side, entry.record()).await);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"last words");
}

#[tokio::test]
async fn what_a_stream_holds_back_is_flushed() {
    let registry = Arc::new(Registry::default());
    let entry = registry.add(BranchName::main(), "d".into(), "r".into(), "local".into());
    let (client_side, mut client) = duplex(100);
    let (backend_side, mut backend) = duplex(100);
    let (mut client_side, mut backend_side) = (BufStream::new(client_side), BufStream::new(backend_side));
    let talking = async {
        let mut heard = [0; 5];
        client.read_exact(&mut heard).await.unwrap();
        client.write_all(b"question").await.unwrap();
        backend.read_exact(&mut [0; 8]).await.unwrap();
        backend.write_all(b"answer").await.unwrap();
        client.read_exact(&mut [0; 6]).await.unwrap();
        drop((client, backend));
        heard
    };
    let (mut traffic, begun) = (Traffic::default(), Begun { to_client: b"hello".to_vec(), ..Begun::default() });
    let forwarding = forward(&mut client_side, &mut backend_side, begun, &mut traffic, entry.record(), &|_| ());
    let both = async { tokio::join!(forwarding, talking) };
    let (_, heard) = timeout(Duration::from_secs(10), both).await.expect("something is held back");
    assert_eq!(&heard, b"hello");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ended_and_reads_no_more_is_given_up() {
    let registry = Arc::new(Registry::default());
    let entry = registry.add(BranchName::main(), "d".into(), "r".into(), "local".into());
    let (mut client_side, mut client) = duplex(100);
    let (mut backend_side, mut backend) = duplex(1_000);
    client.shutdown().await.unwrap();
    backend.write_all(&[0; 1_000]).await.unwrap();
    assert!(!listens(&mut client_side, &mut backend_side, entry.record()).await);
}

#[tokio::test]
async fn a_backend_that_talks_to_nobody_is_given_up() {
    let registry = Arc::new(Registry::default());
    let entry = registry.add(BranchName::main(), "d".into(), "r".into(), "local".into());
    let (mut client_side, mut client) = duplex(100);
    let (mut backend_side, mut backend) = duplex(100);
    let talking = tokio::spawn(async move { while backend.write_all(b"more").await.is_ok() {} });
    let killed = async {
        client.read_exact(&mut [0; 1_000]).await.unwrap();
        drop(client);
    };
    let forwarding = async {
        let listens = listens(&mut client_side, &mut backend_side, entry.record()).await;
        drop(backend_side);
        listens
    };
    let both = async { tokio::join!(forwarding, killed) };
    let (listens, ()) = timeout(Duration::from_secs(10), both).await.expect("it goes on for ever");
    assert!(!listens);
    talking.await.unwrap();
}

/// A stream that counts what would be system calls if it were a socket.
struct Counted {
    stream: DuplexStream,
    reads: usize,
    writes: usize,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        // A socket's runtime knows without asking the kernel when there is nothing.
        self.reads += usize::from(read.is_ready());
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes += 1;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test]
async fn a_message_costs_one_read_and_one_write() {
    const MESSAGES: usize = 100;
    let registry = Arc::new(Registry::default());
    let entry = registry.add(BranchName::main(), "d".into(), "r".into(), "local".into());
    let pipe = || {
        let (stream, other) = duplex(1_000);
        (Counted { stream, reads: 0, writes: 0 }, other)
    };
    let ((mut client_side, mut client), (mut backend_side, mut backend)) = (pipe(), pipe());
    let talking = async {
        for _ in 0..MESSAGES {
            client.write_all(b"question").await.unwrap();
            backend.read_exact(&mut [0; 8]).await.unwrap();
            backend.write_all(b"answer").await.unwrap();
            client.read_exact(&mut [0; 6]).await.unwrap();
        }
        drop((client, backend));
    };
    tokio::join!(listens(&mut client_side, &mut backend_side, entry.record()), talking);
    for side in [client_side, backend_side] {
        assert_eq!(side.writes, MESSAGES);
        // The last one finds the end.
        assert!(side.reads <= MESSAGES + 1, "{} reads", side.reads);
    }
}
