//! Django's test runner makes `test_…` databases through a connection to `postgres`, and copies of them when it runs in
//! parallel. All of them must be on the branch that its settings name.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

use std::path::Path;
use std::process::Command;

use nap_testkit::{Output, TestHome, Way, python};

const SETTINGS: &str = r#"
import os
SECRET_KEY = "x"
INSTALLED_APPS = ["shop"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"],
    "USER": os.environ["PGUSER"], "PASSWORD": os.environ.get("PGPASSWORD", ""), "HOST": os.environ["PGHOST"],
    "PORT": os.environ["PGPORT"]}}
"#;

const MODELS: &str = r#"
from django.db import models
class Good(models.Model):
    name = models.CharField(max_length=20, unique=True)
    class Meta:
        app_label = "shop"
"#;

const TESTS: &str = r#"
from django.db import connection
from django.test import TestCase, TransactionTestCase
from shop.models import Good
def branch():
    with connection.cursor() as cursor:
        cursor.execute("show nap.branch")
        return cursor.fetchone()[0]
class InTransaction(TestCase):
    def test_rows(self):
        Good.objects.create(name="a")
        self.assertEqual(Good.objects.count(), 1)
        self.assertEqual(branch(), "feat")
        self.assertTrue(connection.settings_dict["NAME"].startswith("test_"))
class Flushed(TransactionTestCase):
    def test_rows(self):
        Good.objects.create(name="b")
        self.assertEqual(branch(), "feat")
    def test_none_left(self):
        self.assertEqual(Good.objects.count(), 0)
"#;

#[test]
fn djangos_test_runner_stays_on_the_branch() {
    let Some(python) = python() else { return };
    let home = TestHome::new(env!("CARGO_BIN_EXE_nap"));
    let main = home.main_and_feat();
    let project = home.beside().join("project");
    std::fs::create_dir_all(project.join("shop")).unwrap();
    for (name, text) in
        [("settings.py", SETTINGS), ("shop/__init__.py", ""), ("shop/models.py", MODELS), ("shop/tests.py", TESTS)]
    {
        std::fs::write(project.join(name), text).unwrap();
    }
    for way in Way::ALL {
        for arguments in [&["test", "--noinput"][..], &["test", "--noinput", "--parallel", "2"]] {
            let said = django(&home, way, &python, &project, arguments);
            assert!(said.stderr.contains("Ran 3 tests"), "{said}");
            main.was_not_woken(&said.to_string());
        }
    }
    let left = "select count(*) from pg_database where datname like 'test\\_%'";
    assert_eq!(home.psql("feat", left).ok(), "0", "what it made is gone again");
    main.is_unchanged();
}

fn django(home: &TestHome, way: Way, python: &Path, project: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(python);
    command.args(["-m", "django"]).args(arguments).current_dir(project);
    command.env("PYTHONPATH", project).env("DJANGO_SETTINGS_MODULE", "settings").env("PYTHONDONTWRITEBYTECODE", "1");
    command.envs(home.way(way, "feat"));
    let said = Output::of(&mut command);
    said.ok();
    said
}
