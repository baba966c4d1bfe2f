//! However a connection ends, it gives back all that it held.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use nap_model::access::{AccessFacts, Database, Role};
use nap_model::hba::{Files, Rules};
use nap_model::ids::Major;
use nap_model::settings::Settings;
use nap_wire::messages::{ErrorFields, authentication_ok, error_response, ready_for_query};
use nap_wire::startup::encode_startup;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::*;
use crate::branches::{Awake, BranchFacts, Opened, Refusal};
use crate::client::Origin;
use crate::error::ProtocolError;
use crate::limits::{Applicant, Limits, Share};
use crate::local_stream::LocalStream;

/// What happens to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    RolesRefused,
    RolesNeverTold,
    LeavesWhileRolesAreRead,
    SaysNoPassword,
    SaysNonsense,
    NoSuchRole,
    BranchFull,
    WaitingFull,
    WakeRefused,
    LeavesWhileItWakes,
    ClosedWhileItWakes,
    NoSocket,
    LeavesWhileItIsTriedAgain,
    ServerStarts,
    ServerSilent,
    ServerCloses,
    Served,
}
use Story::*;

const STORIES: [Story; 17] = [
    RolesRefused,
    RolesNeverTold,
    LeavesWhileRolesAreRead,
    SaysNoPassword,
    SaysNonsense,
    NoSuchRole,
    BranchFull,
    WaitingFull,
    WakeRefused,
    LeavesWhileItWakes,
    ClosedWhileItWakes,
    NoSocket,
    LeavesWhileItIsTriedAgain,
    ServerStarts,
    ServerSilent,
    ServerCloses,
    Served,
];

impl Story {
    /// What the client is told in the end.
    fn told(self) -> &'static str {
        match self {
            RolesRefused => "no roles",
            RolesNeverTold | SaysNoPassword => "canceling authentication due to timeout",
            SaysNonsense => "malformed SASLInitialResponse",
            NoSuchRole => "role \"al\" does not exist",
            BranchFull => "too many connections for branch",
            WaitingFull => "too many clients wait",
            WakeRefused => "no server",
            ClosedWhileItWakes => "shutting down",
            NoSocket => "Last: the server cannot be reached",
            ServerStarts => "Last: the server said: starting up",
            ServerSilent => "Last: the server did not answer in time",
            ServerCloses => "Last: the server closed",
            Served => "Z\0\0\0\x05I",
            LeavesWhileRolesAreRead | LeavesWhileItWakes | LeavesWhileItIsTriedAgain => "",
        }
    }

    fn is_trusted(self) -> bool {
        !matches!(self, SaysNoPassword | SaysNonsense)
    }

    fn leaves(self) -> bool {
        self.told().is_empty()
    }
}

/// One branch, with a server that does as the story says.
struct Fake {
    directory: tempfile::TempDir,
    story: Mutex<Story>,
    /// The connection has come to where the story turns.
    reached: Notify,
    /// Its clones are the holds.
    holds: Arc<()>,
    wakes: AtomicU32,
}

fn refusal(message: &str) -> Refusal {
    Box::new(ProtocolError::violation(message))
}

impl Fake {
    fn story(&self) -> Story {
        *self.story.lock().unwrap()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn awake(&self, socket: std::path::PathBuf) -> Awake {
        Awake { socket, superuser: "postgres".to_owned(), hold: Box::new(self.holds.clone()) }
    }

    /// Answers every connection to the server.
    async fn answer(&self, listener: UnixListener) {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1_000]).await;
            let mut answer = Vec::new();
            match self.story() {
                ServerCloses => continue,
                Served => {
                    authentication_ok(&mut answer);
                    ready_for_query(&mut answer, b'I');
                }
                ServerSilent => {
                    kept.push(stream);
                    continue;
                }
                _ => error_response(&mut answer, &ErrorFields::fatal("57P03", "starting up")),
            }
            stream.write_all(&answer).await.unwrap();
        }
    }
}

struct TwoRules;

impl Files for TwoRules {
    fn read(&self, _: &std::path::Path, _: usize) -> std::io::Result<Vec<u8>> {
        Ok(b"local all all trust\nhost all all all scram-sha-256\n".to_vec())
    }

    fn names(&self, _: &std::path::Path) -> std::io::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

impl Branches for Fake {
    fn answers_pings(&self, _: &BranchName) -> bool {
        true
    }

    fn default_branch(&self) -> BranchName {
        BranchName::main()
    }

    fn find(&self, _: &BranchName) -> Option<BranchFacts> {
        Some(BranchFacts { major: Major(15) })
    }

    fn rules(&self, _: &BranchName) -> Arc<Rules> {
        Arc::new(Rules::load(&TwoRules, std::path::Path::new("/hba"), Arc::default()).unwrap())
    }

    fn names(&self) -> Vec<BranchName> {
        vec![BranchName::main()]
    }

    async fn access(&self, _: &BranchName, role: &str, database: &str) -> Result<AccessFacts, Refusal> {
        match self.story() {
            RolesRefused => return Err(refusal("no roles")),
            RolesNeverTold | LeavesWhileRolesAreRead => {
                self.reached.notify_one();
                std::future::pending().await
            }
            _ => {}
        }
        let role = Role {
            name: role.into(),
            can_login: true,
            verifier: None,
            valid_until_us: None,
            connection_limit: -1,
            superuser: false,
        };
        Ok(AccessFacts {
            role: (self.story() != NoSuchRole).then_some(role),
            database: Some(Database { name: database.into(), allows_connections: true, connection_limit: -1 }),
            member_of: Vec::new(),
        })
    }

    fn keep_awake(&self, _: &BranchName, _: bool) {}

    fn control_role(&self, _: &BranchName) -> Option<String> {
        None
    }

    fn control(&self, _: &BranchName, _: crate::branches::Order) {}

    async fn open_past(&self, _: &BranchName, _: &str, _: &str) -> Result<Opened, Refusal> {
        unreachable!("no test asks for it")
    }

    async fn wake(&self, _: &BranchName, _: Instant) -> Result<Awake, Refusal> {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        self.reached.notify_one();
        match self.story() {
            WakeRefused => Err(refusal("no server")),
            WaitingFull | LeavesWhileItWakes | ClosedWhileItWakes => std::future::pending().await,
            NoSocket | LeavesWhileItIsTriedAgain => Ok(self.awake(self.directory.path().join("missing"))),
            _ => Ok(self.awake(self.socket())),
        }
    }
}

/// Plays the client's part, and gives back what it was told.
async fn client(fake: &Fake, story: Story, closing: &watch::Sender<bool>, mut stream: UnixStream) -> String {
    let mut told = Vec::new();
    stream.write_all(&encode_startup(0, &[("user", "al")])).await.unwrap();
    match story {
        SaysNonsense => stream.write_all(b"p\0\0\0\x05x").await.unwrap(),
        ClosedWhileItWakes => {
            fake.reached.notified().await;
            closing.send_replace(true);
        }
        Served => {
            while !told.ends_with(b"Z\0\0\0\x05I") {
                told.push(stream.read_u8().await.unwrap());
            }
            stream.shutdown().await.unwrap();
        }
        story if story.leaves() => {
            fake.reached.notified().await;
            return String::new();
        }
        _ => {}
    }
    stream.read_to_end(&mut told).await.unwrap();
    String::from_utf8_lossy(&told).into_owned()
}

struct House {
    limits: watch::Sender<Limits>,
    closing: watch::Sender<bool>,
    shared: Shared<Fake>,
}

impl House {
    fn new() -> Self {
        let fake = Fake {
            directory: tempfile::tempdir().unwrap(),
            story: Mutex::new(Served),
            reached: Notify::new(),
            holds: Arc::default(),
            wakes: AtomicU32::new(0),
        };
        let (limits, limits_seen) = watch::channel(Limits::from(&Settings::default()));
        let (closing, closing_seen) = watch::channel(false);
        let shared = Shared {
            branches: Arc::new(fake),
            places: Places::new(limits_seen),
            peers: Peers { owner_uid: 7, name_of: |_| None },
            mock_secret: [9; 32],
            tls: watch::channel(None).1,
            registry: Arc::default(),
            rehearsals: crate::parking::Rehearsals::default(),
            hubs: crate::hub::Hubs::new(None),
            controls: Arc::default(),
            stock: Arc::default(),
            cancels: Arc::default(),
            closing: closing_seen,
        };
        Self { limits, closing, shared }
    }

    async fn play(&self, story: Story) {
        let fake = &*self.shared.branches;
        *fake.story.lock().unwrap() = story;
        self.closing.send_replace(false);
        self.limits.send_modify(|limits| {
            limits.max_connections_per_branch = u32::from(story != BranchFull);
            limits.max_waiting_clients = u32::from(story != WaitingFull);
        });
        let (ours, theirs) = UnixStream::pair().unwrap();
        let ours = LocalStream::new(ours.into_std().unwrap().into()).unwrap();
        let applicant = Applicant { share: Share::User(7), is_owner: false };
        let admission = self.shared.places.admit(applicant).await.unwrap();
        assert_eq!(admission.reached(), None);
        let begun = Instant::now();
        let arrival = Arrival { door: None, admission, accepted: begun };
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let origin =
            if story.is_trusted() { Origin::Unix { uid: 7 } } else { Origin::Tcp { remote: nowhere, local: nowhere } };
        let served = serve(&self.shared, Client { stream: ours, address: "local".into(), origin, tls: None }, arrival);
        let ((), told) = tokio::join!(served, client(fake, story, &self.closing, theirs));
        assert!(told.contains(story.told()), "{story:?}: {told}");
        if story.leaves() {
            assert!(begun.elapsed() < Duration::from_secs(1), "{story:?}: noticed after {:?}", begun.elapsed());
        }
    }

    fn assert_nothing_is_held(&self, after: &[Story]) {
        assert!(self.shared.places.are_free(), "a place is kept after {after:?}");
        assert_eq!(Arc::strong_count(&self.shared.branches.holds), 1, "a hold is kept after {after:?}");
        assert!(self.shared.registry.infos().is_empty(), "a session is shown after {after:?}");
    }
}

/// Plays the stories one after the other, with a clock that runs only while everybody waits.
fn play(stories: &[Story]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let house = House::new();
        let listener = UnixListener::bind(house.shared.branches.socket()).unwrap();
        let fake = house.shared.branches.clone();
        let server = tokio::spawn(async move { fake.answer(listener).await });
        for (number, story) in stories.iter().enumerate() {
            house.play(*story).await;
            house.assert_nothing_is_held(&stories[..=number]);
        }
        server.abort();
    });
}

#[test]
fn every_story_gives_all_back() {
    for story in STORIES {
        play(&[story]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn so_does_every_row_of_stories(stories in prop::collection::vec(prop::sample::select(&STORIES[..]), 1..10)) {
        play(&stories);
    }
}
