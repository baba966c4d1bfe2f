use super::*;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn greeted() -> Traffic {
    let mut traffic = Traffic::default();
    traffic.greeted(&message(b'Z', b"I"), |_| {});
    assert!(traffic.is_quiet());
    traffic
}

impl Traffic {
    fn says(&mut self, tag: u8, body: &[u8]) -> &mut Self {
        self.client_sent(&message(tag, body));
        self
    }

    fn hears(&mut self, tag: u8, body: &[u8]) -> Vec<bool> {
        let mut worked = Vec::new();
        self.backend_sent(&message(tag, body), |ready| worked.push(ready.worked));
        worked
    }
}

#[test]
fn a_query_is_under_way_until_the_server_is_ready() {
    let mut traffic = greeted();
    traffic.client_sent(b"Q\0\0");
    assert!(!traffic.is_quiet(), "half a message");
    traffic.client_sent(b"\0\x0dSELECT 2\0");
    assert!(!traffic.is_quiet());
    traffic.hears(b'C', b"SELECT 1\0");
    assert!(!traffic.is_quiet());
    assert_eq!(traffic.hears(b'Z', b"I"), [true]);
    assert!(traffic.is_quiet());
}

#[test]
fn what_is_sent_ahead_keeps_it_from_being_ready() {
    let mut traffic = greeted();
    traffic.says(b'Q', b"SELECT 2\0").says(b'Q', b"SELECT 1\0");
    assert_eq!(traffic.hears(b'Z', b"I"), [], "the second one runs");
    assert_eq!(traffic.hears(b'Z', b"I"), [true], "the first one was work");
    traffic.says(b'Q', b"SELECT 2\0").says(b'P', b"\0SELECT 2\0\0\0");
    assert_eq!(traffic.hears(b'Z', b"I"), [], "a pipeline has begun");
    traffic.says(b'S', b"");
    assert_eq!(traffic.hears(b'Z', b"I"), [true]);
}

#[test]
fn a_pipeline_without_its_sync_is_under_way() {
    let mut traffic = greeted();
    traffic.says(b'P', b"\0SELECT 2\0\0\0").says(b'B', b"\0\0\0\0\0\0\0\0").says(b'E', b"\0\0\0\0\0").says(b'H', b"");
    assert!(!traffic.is_quiet());
    traffic.says(b'S', b"").says(b'S', b"");
    traffic.hears(b'Z', b"I");
    assert!(!traffic.is_quiet(), "one of two");
    traffic.hears(b'Z', b"I");
    assert!(traffic.is_quiet());
    assert_eq!(*traffic.unnamed(), Unnamed::Parsed(b"\0SELECT 2\0\0\0".to_vec()));
    traffic.says(b'Q', b"COMMIT\0");
    assert_eq!(*traffic.unnamed(), Unnamed::None);
}

/// As tokio-postgres does it: the server reads past the first Sync.
#[test]
fn a_copy_swallows_its_syncs() {
    let mut traffic = greeted();
    traffic.says(b'B', b"\0c\0\0\0\0\0\0\0").says(b'E', b"\0\0\0\0\0").says(b'S', b"");
    traffic.hears(b'G', b"\0\0\0");
    assert!(!traffic.is_quiet());
    traffic.says(b'd', b"1\n").says(b'c', b"").says(b'S', b"");
    traffic.hears(b'Z', b"I");
    assert!(traffic.is_quiet());
}

#[test]
fn a_simple_copy_ends_with_its_query() {
    let mut traffic = greeted();
    traffic.says(b'Q', b"COPY t FROM STDIN\0");
    traffic.hears(b'G', b"\0\0\0");
    traffic.says(b'd', b"1\n").says(b'c', b"");
    assert!(!traffic.is_quiet());
    traffic.hears(b'Z', b"I");
    assert!(traffic.is_quiet());
}

#[test]
fn what_does_not_fit_together_is_never_quiet_again() {
    let mut traffic = greeted();
    traffic.hears(b'Z', b"I");
    assert!(!traffic.is_quiet(), "an answer that nobody asked for");
    let mut traffic = greeted();
    traffic.says(b'E', b"\0\0\0\0\0").says(b'c', b"").says(b'S', b"");
    traffic.hears(b'G', b"\0\0\0");
    traffic.hears(b'Z', b"I");
    assert!(!traffic.is_quiet(), "all data before the server took any");
}

#[test]
fn pings_are_no_work() {
    let mut traffic = greeted();
    let before = traffic.changes();
    traffic.says(b'Q', b"SELECT 1\0");
    assert_eq!(traffic.hears(b'Z', b"I"), [false]);
    traffic.says(b'P', b"\0select 1\0\0\0").says(b'B', b"\0\0\0\0\0\0\0\0").says(b'E', b"\0\0\0\0\0").says(b'S', b"");
    assert_eq!(traffic.hears(b'Z', b"I"), [false]);
    assert_eq!(traffic.changes(), before);
    traffic.says(b'P', b"\0select 2\0\0\0").says(b'B', b"\0\0\0\0\0\0\0\0").says(b'E', b"\0\0\0\0\0").says(b'S', b"");
    assert_eq!(traffic.hears(b'Z', b"I"), [true]);
    assert!(traffic.changes() > before);
}

#[test]
fn names_are_found_in_texts_and_values() {
    let mut traffic = greeted();
    traffic.says(b'Q', b"SET app.user = 'x'\0").says(b'B', b"\0\0\0\0\0\x01\0\0\0\x03a.b\0\0");
    let mut names: Vec<&str> = traffic.names().collect();
    names.sort_unstable();
    assert_eq!(names, ["a.b", "app.user"]);
    assert!(!traffic.backup());
    traffic.says(b'Q', b"SELECT Pg_Backup_Start('x')\0");
    assert!(traffic.backup());
}
