use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const ASYNCPG: Client = Client {
    name: "asyncpg",
    program: |_| program::python("asyncpg_program.py"),
    writes: r#"asyncpg.connect(server_settings={"branch": "feat"})"#,
    cannot: &[("channel_binding", "it knows SCRAM without channel binding only"), ("keywords", "it takes URLs")],
    needs: &[],
};

#[test]
fn slow_asyncpg() {
    story::play(&ASYNCPG);
}
