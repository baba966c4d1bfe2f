use nap_testkit::pg_majors;

use crate::client::{Client, Needs};
use crate::program;
use crate::story;

pub(crate) const PSQL: Client = Client {
    name: "psql",
    program: |_| program::rust("psql"),
    writes: r#"psql shop@feat"#,
    cannot: &[
        ("parameter", "libpq sends no startup parameter of the user's own"),
        ("url_parameter", "libpq sends no startup parameter of the user's own"),
    ],
    needs: &[Needs {
        case: "pipeline",
        what: "psql 18 or newer, which has `\\startpipeline`",
        is_here: |_| pg_majors()[0].major >= 18,
    }],
};

#[test]
fn slow_psql() {
    story::play(&PSQL);
}
