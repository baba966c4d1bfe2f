use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const TOKIO_POSTGRES: Client = Client {
    name: "tokio-postgres",
    program: |_| program::rust("tokio-postgres"),
    writes: r#"Config::new().options("-c nap.branch=feat")"#,
    cannot: &[
        ("parameter", "it sends no startup parameter of the user's own"),
        ("url_parameter", "it sends no startup parameter of the user's own"),
        ("url_verify", "it reads no `sslrootcert` in a URL: TLS is made by the program"),
        (
            "url_socket",
            "without a role before it, it takes what stands before the `@` of a database's name for the role, \
             and the branch for the host: write `%40`, or the role",
        ),
        ("environment", "it reads no environment"),
    ],
    needs: &[],
};

#[test]
fn slow_tokio_postgres() {
    story::play(&TOKIO_POSTGRES);
}
