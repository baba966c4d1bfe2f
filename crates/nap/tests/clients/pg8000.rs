use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const PG8000: Client = Client {
    name: "pg8000",
    program: |_| program::python("pg8000_program.py"),
    writes: r#"pg8000.dbapi.connect(startup_params={"branch": "feat"})"#,
    cannot: &[
        ("url", "it takes arguments, no URL"),
        ("url_verify", "it takes arguments, no URL"),
        ("url_socket", "it takes arguments, no URL"),
        ("url_option", "it takes arguments, no URL"),
        ("url_parameter", "it takes arguments, no URL"),
        ("url_percent", "it takes arguments, no URL"),
        ("url_percent_database", "it takes arguments, no URL"),
        ("keywords", "it takes arguments, no URL"),
        ("environment", "it reads no environment"),
        ("cancel", "it has no way to cancel"),
        ("pipeline", "it sends one query at a time"),
    ],
    needs: &[],
};

#[test]
fn slow_pg8000() {
    story::play(&PG8000);
}
