use serde_json::json;

use crate::client::{Client, Needs};
use crate::program;
use crate::story;

pub(crate) const PGJDBC: Client = Client {
    name: "pgjdbc",
    program: |hosts| program::java("Jdbc.java", hosts),
    writes: "jdbc:postgresql://localhost/shop?options=-c%20nap.branch=feat",
    cannot: &[
        ("parameter", "it sends no startup parameter of the user's own"),
        ("url_parameter", "it sends no startup parameter of the user's own"),
        ("url", "it takes JDBC URLs"),
        ("url_verify", "it takes JDBC URLs"),
        ("url_socket", "it takes JDBC URLs"),
        ("environment", "of the environment it reads only where a password file and a service file are"),
    ],
    needs: &[Needs {
        case: "channel_binding",
        what: "pgjdbc 42.7.4 or newer, which has `channelBinding` (Debian 12 has 42.5)",
        is_here: |program| {
            program.send(&json!({ "do": "knows", "property": "channelBinding" }));
            program.receive()["knows"] == true
        },
    }],
};

#[test]
fn slow_pgjdbc() {
    story::play(&PGJDBC);
}
