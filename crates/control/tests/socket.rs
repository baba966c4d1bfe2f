//! Both ends of the control socket, talking to each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nap_control::{
    Answer, CallError, Failure, FailureKind, Handler, REQUEST_MAX_BYTES, Reply, Request, call, listen, serve,
};
use nap_model::ids::BranchName;
use tokio::sync::{Notify, oneshot};

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers `status` at once, and `sleep` only when it is let.
#[derive(Default)]
struct Script {
    entered: Notify,
    let_go: Notify,
}

impl Handler for Script {
    async fn handle(&self, request: Request) -> Reply {
        match request {
            Request::Sleep { .. } => {
                self.entered.notify_one();
                self.let_go.notified().await;
                Ok(Answer::Done)
            }
            Request::Wake { .. } => Err(Failure::new(FailureKind::NotFound, "there is no such branch").hint("try ls")),
            Request::CreateBranch { name, .. } => Err(Failure::failed(format!("{} bytes", name.len()))),
            _ => Ok(Answer::Branches(Vec::new())),
        }
    }
}

struct Daemon {
    socket: PathBuf,
    script: Arc<Script>,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
    _home: tempfile::TempDir,
}

fn start(owner_uid: Option<u32>) -> Daemon {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("control.sock");
    let listener = listen(&socket).unwrap();
    let owner_uid = owner_uid.unwrap_or_else(|| std::fs::metadata(&socket).unwrap().uid());
    let script = Arc::new(Script::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let handler = Arc::clone(&script);
    let served = tokio::spawn(serve(listener, handler, owner_uid, async {
        let _ = stopped.await;
    }));
    Daemon { socket, script, stop, served, _home: home }
}

async fn ask(socket: &Path, request: Request) -> Result<Reply, CallError> {
    let socket = socket.to_owned();
    tokio::task::spawn_blocking(move || call(&socket, &request, PATIENCE)).await.unwrap()
}

async fn raw(socket: &Path, bytes: Vec<u8>) -> Reply {
    let socket = socket.to_owned();
    let text = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    })
    .await
    .unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_request_is_answered_and_the_socket_is_private() {
    let daemon = start(None);
    let mode = std::fs::metadata(&daemon.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(ask(&daemon.socket, Request::List { disk: false }).await.unwrap(), Ok(Answer::Branches(Vec::new())));
    let failure = ask(&daemon.socket, Request::Wake { branch: Some(BranchName::main()) }).await.unwrap().unwrap_err();
    assert_eq!((failure.kind, failure.hint.as_deref()), (FailureKind::NotFound, Some("try ls")));
}

#[tokio::test]
async fn silent_connections_hold_nobody_up_for_long() {
    let daemon = start(None);
    // As many as are served at once.
    let silent: Vec<UnixStream> = (0..256).map(|_| UnixStream::connect(&daemon.socket).unwrap()).collect();
    let begun = std::time::Instant::now();
    assert_eq!(ask(&daemon.socket, Request::List { disk: false }).await.unwrap(), Ok(Answer::Branches(Vec::new())));
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    drop(silent);
}

#[tokio::test]
async fn a_request_under_way_is_answered_although_the_daemon_ends() {
    let daemon = start(None);
    let socket = daemon.socket.clone();
    let asked = tokio::spawn(async move { ask(&socket, Request::Sleep { branch: None }).await });
    daemon.script.entered.notified().await;
    daemon.stop.send(()).unwrap();
    daemon.script.let_go.notify_one();
    assert_eq!(asked.await.unwrap().unwrap(), Ok(Answer::Done));
    daemon.served.await.unwrap();
    assert!(matches!(ask(&daemon.socket, Request::Status).await, Err(CallError::NotUp)));
}

#[tokio::test]
async fn no_socket_means_not_up() {
    let home = tempfile::tempdir().unwrap();
    let nowhere = home.path().join("control.sock");
    assert!(matches!(ask(&nowhere, Request::Status).await, Err(CallError::NotUp)));
    std::fs::write(&nowhere, "a leftover").unwrap();
    assert!(matches!(ask(&nowhere, Request::Status).await, Err(CallError::NotUp)));
    drop(listen(&nowhere).unwrap());
}

#[tokio::test]
async fn lines_beyond_the_bound_are_refused() {
    let daemon = start(None);
    let fits =
        Request::CreateBranch { name: "x".repeat(REQUEST_MAX_BYTES - 100), from: None, at: None, settings: vec![] };
    let failure = ask(&daemon.socket, fits).await.unwrap().unwrap_err();
    assert_eq!(failure.message, format!("{} bytes", REQUEST_MAX_BYTES - 100));
    let long = Request::CreateBranch { name: "x".repeat(REQUEST_MAX_BYTES), from: None, at: None, settings: vec![] };
    assert!(matches!(ask(&daemon.socket, long).await, Err(CallError::RequestTooLong)));
    let failure = raw(&daemon.socket, vec![b' '; REQUEST_MAX_BYTES + 1]).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Usage);
    assert!(failure.message.contains("longer"), "{failure}");
}

#[tokio::test]
async fn nonsense_is_answered_with_a_failure() {
    let daemon = start(None);
    for nonsense in ["", "{}", "\n", "{\"request\":\"fly\"}\n", "{\"request\":\"list\"}"] {
        let failure = raw(&daemon.socket, nonsense.as_bytes().to_vec()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage, "{nonsense:?}");
    }
}

#[tokio::test]
async fn another_user_is_refused_without_being_heard() {
    let own_uid = std::fs::metadata("/proc/self").unwrap().uid();
    if own_uid == 0 {
        // Root may always: there is nobody to refuse.
        return;
    }
    let daemon = start(Some(own_uid + 1));
    let failure = ask(&daemon.socket, Request::List { disk: false }).await.unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Denied);
}

#[tokio::test]
async fn a_silent_daemon_is_given_up_on() {
    let daemon = start(None);
    let socket = daemon.socket.clone();
    let asked =
        tokio::task::spawn_blocking(move || call(&socket, &Request::Sleep { branch: None }, Duration::from_millis(50)));
    assert!(matches!(asked.await.unwrap(), Err(CallError::TimedOut(_))));
}
