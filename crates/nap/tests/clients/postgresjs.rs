use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const POSTGRESJS: Client = Client {
    name: "postgres.js",
    program: |_| program::node("postgresjs_program.cjs"),
    writes: r#"postgres({ connection: { branch: 'feat' } })"#,
    cannot: &[
        ("channel_binding", "it knows SCRAM without channel binding only"),
        ("url_verify", "it reads no `sslrootcert` in a URL"),
        ("url_percent_database", "it does not decode the database's name: write `@` itself"),
        ("keywords", "it takes URLs"),
    ],
};

#[test]
fn slow_postgresjs() {
    story::play(&POSTGRESJS);
}
