use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const DRIZZLE: Client = Client {
    name: "Drizzle",
    program: |_| program::node("drizzle_program.cjs"),
    writes: r#"drizzle({ connection: { options: '-c nap.branch=feat' } })"#,
    cannot: &[
        ("parameter", "node-postgres below it sends no startup parameter of the user's own"),
        ("url_parameter", "node-postgres below it sends no startup parameter of the user's own"),
        (
            "url_percent_database",
            "it leaves `%2F`, `%3F`, `%23` and `%40` of a database's name as they are: write `@` itself",
        ),
        ("keywords", "it takes URLs"),
    ],
    needs: &[],
};

#[test]
fn slow_drizzle() {
    story::play(&DRIZZLE);
}
