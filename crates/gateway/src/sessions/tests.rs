//! What a branch hears of its sessions.

use super::*;

#[tokio::test]
async fn a_session_shows_from_coming_to_going() {
    let registry = Arc::new(Registry::default());
    let entry = registry.add(BranchName::main(), "shop".into(), "al".into(), "local".into());
    let state = || registry.infos().first().map(|info| info.state.to_string());
    assert_eq!(state().unwrap(), "starting");
    entry.record().ready(b'I', true);
    assert_eq!(state().unwrap(), "idle");
    entry.record().active();
    assert_eq!(state().unwrap(), "active");
    entry.record().ready(b'T', true);
    assert_eq!(state().unwrap(), "idle in transaction");
    entry.record().ready(b'E', true);
    assert_eq!(state().unwrap(), "idle in transaction (aborted)");
    let waiting = tokio::spawn({
        let registry = registry.clone();
        async move { registry.emptied().await }
    });
    tokio::task::yield_now().await;
    drop(entry);
    waiting.await.unwrap();
    assert!(registry.infos().is_empty());
}
