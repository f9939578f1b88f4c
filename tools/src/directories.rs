//! Default paths of files.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, io};

use crate::failure::Failure;

/// Returns the directory of persistent state: `$XDG_STATE_HOME/pinecone`, or
/// `~/.local/state/pinecone`. `None` if there is no home directory.
pub(crate) fn state() -> Option<PathBuf> {
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|directory| directory.join("pinecone"))
}

/// Returns the path of the admin socket: `$XDG_RUNTIME_DIR/pinecone.sock`, or `admin.sock` in
/// [`state`].
pub(crate) fn admin_socket() -> Option<PathBuf> {
    absolute("XDG_RUNTIME_DIR")
        .map(|directory| directory.join("pinecone.sock"))
        .or_else(|| state().map(|directory| directory.join("admin.sock")))
}

/// Ensures that the directory of `path`, which was given with `flag`, exists. Creates only the default
/// directories: a missing directory elsewhere is a mistyped path.
pub(crate) fn prepare(path: &Path, flag: &str) -> Result<(), Failure> {
    let directory = parent(path);
    let default = |file: Option<PathBuf>| file.is_some_and(|file| parent(&file) == directory);
    if default(admin_socket()) || state().is_some_and(|state| state == directory) {
        return DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| {
                Failure::runtime(format!(
                    "cannot create the directory {}: {e}; name a file elsewhere with {flag}",
                    directory.display()
                ))
            });
    }
    let shown = path.display();
    let problem = match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => "is not a directory".to_owned(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => "does not exist".to_owned(),
        Err(e) => format!("cannot be entered ({e})"),
    };
    Err(Failure::usage(format!(
        "{flag} {shown}: the directory {} {problem}: create it, or correct the path",
        directory.display()
    )))
}

/// Returns the directory of a file.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Returns the path in a variable, unless it is relative: the XDG specification demands that such paths be ignored.
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
