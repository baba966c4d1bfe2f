use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const NODE_POSTGRES: Client = Client {
    name: "node-postgres",
    program: |_| program::node("pg_program.cjs"),
    writes: r#"new Client({ options: '-c nap.branch=feat' })"#,
    cannot: &[
        ("parameter", "it sends no startup parameter of the user's own"),
        ("url_parameter", "it sends no startup parameter of the user's own"),
        (
            "url_percent_database",
            "it leaves `%2F`, `%3F`, `%23` and `%40` of a database's name as they are: write `@` itself",
        ),
        ("keywords", "it takes URLs"),
    ],
    needs: &[],
};

#[test]
fn slow_node_postgres() {
    story::play(&NODE_POSTGRES);
}
