use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const POSTGRESJS: Client = Client {
    name: "postgres.js",
    program: |_| program::node("postgresjs_program.cjs"),
    writes: r#"postgres({ connection: { branch: 'feat' } })"#,
    cannot: &[
        ("channel_binding", "it knows SCRAM without channel binding only"),
        ("url_verify", "it passes `sslrootcert` of a URL on to the server, as a setting"),
        ("url_socket", "it passes `host` of a URL's query on to the server: give the directory as its argument `host`"),
        ("url_percent_database", "it does not decode the database's name: write `@` itself"),
        ("keywords", "it takes URLs"),
    ],
    needs: &[],
};

#[test]
fn slow_postgresjs() {
    story::play(&POSTGRESJS);
}
