//! The file of the admin socket.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use tokio::net::UnixListener;

use crate::directories;
use crate::failure::Failure;

/// The bound socket. Dropping it removes its file.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// The file that was created, if it could be identified.
    file: Option<FileId>,
}

/// Identifies a file among others that have had its path: device, inode number, and modification time,
/// as inode numbers are reused.
type FileId = (u64, u64, i64, i64);

impl AdminSocket {
    /// Binds the path. Replaces a socket that no process listens on, and refuses one that is in use.
    /// Changes the umask for a moment, so no other thread may create files meanwhile.
    pub(crate) fn bind(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let failed = |e: io::Error| {
            let message = format!(
                "cannot create the admin socket {shown}: {e}; name another path with --admin"
            );
            match e.kind() {
                // For example, the path is too long.
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
                    "{shown} exists and is not a socket: name another path with --admin"
                )));
            }
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                Err(e) => return Err(failed(e)),
                Ok(_) => {
                    return Err(Failure::runtime(format!(
                        "another node uses the admin socket {shown}: stop it, or name another path \
                         with --admin"
                    )));
                }
            },
        }
        // The umask keeps others out from the start; a later chmod would leave a gap.
        let umask = rustix::process::umask(Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(umask);
        Ok(Self {
            listener: bound.map_err(failed)?,
            path: path.to_owned(),
            file: file_at(path),
        })
    }

    /// Returns the path of the socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // If the file was removed, another node may have bound the path since.
        if self.file.is_some() && self.file == file_at(&self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_at(path: &Path) -> Option<FileId> {
    let id = |file: Metadata| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec());
    std::fs::symlink_metadata(path).ok().map(id)
}
