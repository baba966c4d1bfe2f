use crate::client::{Client, Needs};
use crate::program;
use crate::story;

pub(crate) const SQLX: Client = Client {
    name: "sqlx",
    program: |hosts| program::rust("sqlx").map(|program| program::with_names(program, hosts)),
    writes: r#"PgConnectOptions::new().options([("nap.branch", "feat")])"#,
    cannot: &[
        ("parameter", "it sends no startup parameter of the user's own"),
        ("url_parameter", "it sends no startup parameter of the user's own"),
        ("channel_binding", "it knows SCRAM without channel binding only"),
        ("keywords", "it takes URLs"),
        ("cancel", "it has no way to cancel"),
        ("pipeline", "it sends one query at a time"),
    ],
    needs: &[Needs {
        case: "server_name",
        what: "a system that resolves `feat.localhost` by itself, since no address can be given beside the name",
        is_here: |_| program::has_names(),
    }],
};

#[test]
fn slow_sqlx() {
    story::play(&SQLX);
}
