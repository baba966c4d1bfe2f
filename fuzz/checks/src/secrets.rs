//! What stands in pg_authid: a superuser may write anything there, so it is input like any other.

use nap_wire::scram::StoredPassword;

pub(crate) const TARGET: crate::Target = crate::Target { name: "secrets", check, parse, allocates: (1024, 4) };

fn parse(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        let _ = StoredPassword::classify(text);
    }
}

fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match StoredPassword::classify(text) {
        StoredPassword::Scram(verifier) => {
            let again = verifier.to_string();
            assert_eq!(StoredPassword::classify(&again), StoredPassword::Scram(verifier));
            assert!(again.len() <= text.len(), "the shortest form of it");
        }
        StoredPassword::Md5 => assert_eq!(text.len(), 35),
        StoredPassword::Unknown => {}
    }
}
