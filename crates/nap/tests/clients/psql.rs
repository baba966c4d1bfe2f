use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const PSQL: Client = Client {
    name: "psql",
    program: |_| program::rust("psql"),
    writes: r#"psql shop@feat"#,
    cannot: &[
        ("parameter", "it sends no startup parameter of the user's own"),
        ("pipeline", "its `\\startpipeline` came with PostgreSQL 18"),
    ],
};

#[test]
fn slow_psql() {
    story::play(&PSQL);
}
