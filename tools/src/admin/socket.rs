//! The admin socket's file.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use tokio::net::UnixListener;

use crate::directories;
use crate::failure::Failure;

/// The bound socket. Its file goes when this does.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// The file that we made.
    file: Option<FileId>,
}

/// Tells a file from others that had or will have its path: device, number, and when it was made, as
/// numbers are used again.
type FileId = (u64, u64, i64, i64);

impl AdminSocket {
    /// Takes the path: replaces a socket that nobody listens on any more, refuses one that is
    /// alive. Changes the umask for a moment, so no other thread may make files meanwhile.
    pub(crate) fn bind(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed = |e: io::Error| {
            let message =
                format!("cannot make the admin socket {shown}: {e}; name another with --admin");
            match e.kind() {
                // The path is too long, say.
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
                    Failure::usage(message)
                }
                _ => Failure::runtime(message),
            }
        };
        directories::prepare(path, "--admin")?;
        match std::fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(Failure::usage(format!(
                    "{shown} is no socket: name another path with --admin"
                )));
            }
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(e) => return Err(failed(e)),
                Ok(_) => {
                    return Err(Failure::runtime(format!(
                        "another node runs with the admin socket {shown}: stop it, or name another \
                         path with --admin"
                    )));
                }
            },
        }
        // Never open to others, not even for the moment before a chmod.
        let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(umask);
        Ok(Self {
            listener: bound.map_err(failed)?,
            path: path.to_owned(),
            file: file_at(path),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // Another node may have taken the path after the file had been removed.
        if self.file.is_some() && self.file == file_at(&self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_at(path: &Path) -> Option<FileId> {
    let id = |file: Metadata| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec());
    std::fs::symlink_metadata(path).ok().map(id)
}
