use std::collections::BTreeMap;
use std::io;

use super::*;
use proptest::prelude::*;

struct Memory(BTreeMap<&'static str, &'static str>);

impl Files for Memory {
    fn read(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        let text = path.to_str().and_then(|path| self.0.get(path)).ok_or(io::ErrorKind::NotFound)?;
        if text.len() > max_bytes { Err(io::Error::other("it is too long")) } else { Ok(text.as_bytes().to_vec()) }
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let names = self.0.keys().filter_map(|path| Path::new(path).strip_prefix(directory).ok());
        Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
    }
}

fn adopted(files: &[(&'static str, &'static str)]) -> Result<Adopted, BadConf> {
    adopt(&Memory(files.iter().copied().collect()), Path::new("/e/postgresql.conf"))
}

fn last_value(text: &str, name: &str) -> Option<String> {
    text.lines().filter_map(setting).rfind(|set| set.name == name).map(|set| set.value)
}

#[test]
fn what_belongs_to_whoever_ran_it_is_turned_off_and_named() {
    let conf = "port = 5432\t# change\n  Data_Directory='/var/lib/x'\nwork_mem 8MB\n#port = 1\nPORT=7\nssl = on\nportal.x = 1\n";
    let adopted = adopted(&[("/e/postgresql.conf", conf)]).unwrap();
    let off: Vec<&str> = adopted.turned_off.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(off, ["port", "data_directory", "ssl"]);
    assert_eq!((adopted.value("port"), adopted.value("work_mem")), (Some("7"), None));
    let in_force: Vec<&str> = adopted.text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    assert_eq!(in_force, ["work_mem 8MB", "portal.x = 1"]);
    assert!(adopted.text.contains("#port = 5432\t# change"));
}

#[test]
fn included_files_come_in_their_place() {
    let adopted = adopted(&[
        ("/e/postgresql.conf", "include_dir = 'conf.d'\na.b = 3\ninclude_if_exists 'no such'\ninclude = '/o/x.conf'\n"),
        ("/e/conf.d/10.conf", "a.b = 1\nport=1\n"),
        ("/e/conf.d/20.conf", "a.b = 2"),
        ("/e/conf.d/README", "no"),
        ("/o/x.conf", "a.c = 'it''s'"),
    ])
    .unwrap();
    let in_force: Vec<&str> = adopted.text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(in_force, ["a.b = 1", "a.b = 2", "a.b = 3", "a.c = 'it''s'"]);
    assert_eq!(last_value(&adopted.text, "a.c").as_deref(), Some("it's"));
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let error = adopted(&[("/e/postgresql.conf", "a.b = 1\ninclude 'gone.conf'\n")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/e/postgresql.conf:2: could not open configuration file \"/e/gone.conf\": entity not found"
    );
    let error = adopted(&[("/e/postgresql.conf", "include 'postgresql.conf'\n")]).unwrap_err();
    assert!(error.message.ends_with("maximum nesting depth exceeded"), "{error}");
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in "[^\0\r]*") {
        let line = written("a.b", &value);
        prop_assert_eq!(last_value(&line, "a.b"), Some(value));
    }

    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = setting(&text);
    }
}
