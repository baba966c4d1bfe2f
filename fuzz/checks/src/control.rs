//! A line on the control socket, from the home's owner or root.

use nap_control::Request;

/// JSON's text becomes strings and names.
pub(crate) const TARGET: crate::Target = crate::Target { name: "control", check, parse, allocates: (4096, 32) };

fn parse(data: &[u8]) {
    let _ = serde_json::from_slice::<Request>(data);
}

fn check(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(data) else { return };
    let written = serde_json::to_string(&request).expect("JSON");
    assert!(!written.contains('\n'), "a request is one line");
    assert_eq!(serde_json::from_str::<Request>(&written).expect("what was written"), request);
}
