use crate::client::Client;
use crate::program;
use crate::story;

pub(crate) const DJANGO: Client = Client {
    name: "Django",
    program: |_| program::python("django_program.py"),
    writes: r#"DATABASES = {"default": {"USER": "alice@feat", …}}"#,
    cannot: &[
        ("parameter", "libpq below it sends no startup parameter of the user's own"),
        ("url_parameter", "libpq below it sends no startup parameter of the user's own"),
        ("keywords", "it takes a dictionary, or a URL by dj-database-url"),
    ],
    needs: &[],
};

#[test]
fn slow_django() {
    story::play(&DJANGO);
}
