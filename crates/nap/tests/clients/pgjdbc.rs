use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const PGJDBC: Client = Client {
    name: "pgjdbc",
    program: |hosts| program::java("Jdbc.java", hosts),
    writes: "jdbc:postgresql://localhost/shop?options=-c%20nap.branch=feat",
    cannot: &[
        ("parameter", "it sends no startup parameter of the user's own"),
        ("own_socket", "Java's own sockets are TCP"),
        ("unix_socket", "Java's own sockets are TCP"),
        ("channel_binding", "the version in Debian 12 (42.5) does not know it"),
        ("url", "it takes JDBC URLs"),
        ("url_verify", "it takes JDBC URLs"),
        ("environment", "it reads no environment"),
    ],
};

#[test]
fn slow_pgjdbc() {
    story::play(&PGJDBC);
}
