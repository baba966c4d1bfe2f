use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const SQLX: Client = Client {
    name: "sqlx",
    program: |_| program::rust("sqlx"),
    writes: r#"PgConnectOptions::new().options([("nap.branch", "feat")])"#,
    cannot: &[
        ("endpoint", "it writes options as `-c NAME=VALUE` only"),
        ("parameter", "it sends no startup parameter of the user's own"),
        ("server_name", "it looks the host up by the system alone, and not every system knows `feat.localhost`"),
        ("channel_binding", "it knows SCRAM without channel binding only"),
        ("keywords", "it takes URLs"),
        ("cancel", "it has no way to cancel"),
        ("pipeline", "it sends one query at a time"),
    ],
};

#[test]
fn slow_sqlx() {
    story::play(&SQLX);
}
