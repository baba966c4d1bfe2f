use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const SQLALCHEMY: Client = Client {
    name: "SQLAlchemy",
    program: |_| program::python("sqlalchemy_program.py"),
    writes: r#"create_engine("postgresql+psycopg://alice:…@localhost/shop@feat")"#,
    cannot: &[
        ("parameter", "libpq below it sends no startup parameter of the user's own"),
        ("url_parameter", "libpq below it sends no startup parameter of the user's own"),
        ("keywords", "it takes URLs"),
    ],
    needs: &[],
};

#[test]
fn slow_sqlalchemy() {
    story::play(&SQLALCHEMY);
}
