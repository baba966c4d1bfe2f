//! A program that user `postgres` can run, when the test runs as root.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The program itself if everybody can reach it, else a copy in `directory`: a clone in root's home is closed to others.
pub(crate) fn reachable_program(program: &Path, directory: &Path) -> PathBuf {
    if !crate::is_root() || everybody_reaches(program) {
        return program.to_owned();
    }
    let copy = directory.join(program.file_name().expect("a program has a name"));
    if !copy.exists() {
        std::fs::copy(program, &copy).expect("copy the program");
    }
    copy
}

fn everybody_reaches(program: &Path) -> bool {
    let program = program.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    program.ancestors().all(|part| {
        let mode = std::fs::metadata(part).map_or(0, |metadata| metadata.permissions().mode());
        mode & 0o001 != 0
    })
}
