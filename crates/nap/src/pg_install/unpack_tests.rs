//! Archives by people who mean harm.
#![allow(clippy::disallowed_methods, reason = "files of a test need no durability")]

use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::*;

type Made = Builder<GzEncoder<File>>;

/// An entry of any name: the library's own ways refuse to write what we want to see refused.
fn entry(made: &mut Made, name: &str, kind: EntryType, link: &str, bytes: &[u8]) {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o6755);
    header.set_cksum();
    made.append(&header, bytes).unwrap();
}

fn file(made: &mut Made, name: &str, bytes: &[u8]) {
    entry(made, name, EntryType::Regular, "", bytes);
}

/// Unpacks what `fill` put into an archive, in a directory of its own whose neighbour must stay as it is.
fn unpacked(fill: impl FnOnce(&mut Made)) -> (tempfile::TempDir, Result<(), String>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    let mut made = Builder::new(GzEncoder::new(File::create(&path).unwrap(), Compression::fast()));
    fill(&mut made);
    made.into_inner().unwrap().finish().unwrap();
    fs::write(dir.path().join("neighbour"), "untouched").unwrap();
    let result = unpack(&path, &dir.path().join("tree")).map_err(|error| error.to_string());
    assert_eq!(fs::read_to_string(dir.path().join("neighbour")).unwrap(), "untouched");
    assert!(!Path::new("/tmp/nap-escaped").exists());
    (dir, result)
}

#[test]
fn files_links_and_modes_come_out() {
    let (dir, result) = unpacked(|made| {
        entry(made, "top/", EntryType::Directory, "", b"");
        file(made, "top/bin/postgres", b"program");
        file(made, "./top/lib/libpq.so.5.17", b"library");
        entry(made, "top/lib/libpq.so", EntryType::Symlink, "libpq.so.5", b"");
        entry(made, "top/lib/libpq.so.5", EntryType::Symlink, "../lib/libpq.so.5.17", b"");
        entry(made, "top/bin/postmaster", EntryType::Link, "top/bin/postgres", b"");
    });
    result.unwrap();
    let tree = dir.path().join("tree");
    assert_eq!(fs::read(tree.join("lib/libpq.so")).unwrap(), b"library");
    assert_eq!(fs::read(tree.join("bin/postmaster")).unwrap(), b"program");
    let mode = fs::metadata(tree.join("bin/postgres")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "no setuid");
}

#[test]
fn nothing_leads_out_of_the_tree() {
    type Evil = fn(&mut Made);
    let evils: [(&str, Evil); 8] = [
        ("leads out of it", |made| file(made, "top/../../neighbour", b"evil")),
        ("leads out of it", |made| file(made, "/tmp/nap-escaped", b"evil")),
        ("leads out of it", |made| entry(made, "top/x", EntryType::Link, "top/../../neighbour", b"")),
        ("which is not in it", |made| entry(made, "top/x", EntryType::Symlink, "/etc/passwd", b"")),
        ("which is not in it", |made| entry(made, "top/x", EntryType::Symlink, "../neighbour", b"")),
        // Each link for itself stays inside; together they lead out.
        ("which is not in it", |made| {
            file(made, "top/a/file", b"");
            entry(made, "top/a/up", EntryType::Symlink, "..", b"");
            entry(made, "top/out", EntryType::Symlink, "a/up/..", b"");
        }),
        // A file that would be written through a link.
        ("could not make", |made| {
            entry(made, "top/dir", EntryType::Symlink, "/tmp", b"");
            file(made, "top/dir", b"first");
            file(made, "top/dir/nap-escaped", b"evil");
        }),
        ("neither a file", |made| entry(made, "top/device", EntryType::Char, "", b"")),
    ];
    for (words, evil) in evils {
        let error = unpacked(evil).1.unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn what_is_cut_off_or_no_archive_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    fs::write(&path, "<html>please log in</html>").unwrap();
    assert!(unpack(&path, &dir.path().join("a")).unwrap_err().to_string().contains("cannot be used"));
    let mut made = Builder::new(GzEncoder::new(File::create(&path).unwrap(), Compression::none()));
    file(&mut made, "top/file", &[7; 100_000]);
    made.into_inner().unwrap().finish().unwrap();
    File::options().write(true).open(&path).unwrap().set_len(50_000).unwrap();
    assert!(unpack(&path, &dir.path().join("b")).unwrap_err().to_string().contains("cannot be used"));
}

#[test]
fn an_archive_that_says_it_is_endless_is_refused() {
    let (_dir, result) = unpacked(|made| {
        let mut header = Header::new_gnu();
        header.set_path("top/large").unwrap();
        header.set_size(UNPACKED_MAX_BYTES + 1);
        header.set_mode(0o644);
        header.set_cksum();
        made.append(&header, io::empty()).unwrap();
    });
    assert!(result.unwrap_err().contains("cannot be used"));
}
