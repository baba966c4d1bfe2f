use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const PSYCOPG: Client = Client {
    name: "psycopg 3",
    program: |_| program::python("psycopg_program.py"),
    writes: r#"psycopg.connect(dbname="shop@feat")"#,
    cannot: &[
        ("parameter", "libpq sends no startup parameter of the user's own"),
        ("url_parameter", "libpq sends no startup parameter of the user's own"),
    ],
    needs: &[],
};

#[test]
fn slow_psycopg() {
    story::play(&PSYCOPG);
}
