//! Where files live unless the operator says otherwise.

use std::env;
use std::path::PathBuf;

/// What is kept from one start to the next: `$XDG_STATE_HOME/pinecone`, or
/// `~/.local/state/pinecone`. Nothing without a home directory.
pub(crate) fn state() -> Option<PathBuf> {
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|directory| directory.join("pinecone"))
}

/// The admin socket: `$XDG_RUNTIME_DIR/pinecone.sock`, or `admin.sock` in [`state`].
pub(crate) fn admin_socket() -> Option<PathBuf> {
    absolute("XDG_RUNTIME_DIR")
        .map(|directory| directory.join("pinecone.sock"))
        .or_else(|| state().map(|directory| directory.join("admin.sock")))
}

/// The variable's value, unless it is relative: the XDG specification tells to ignore those.
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
