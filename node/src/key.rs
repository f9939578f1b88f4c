//! Secret keys: making new ones, and keeping them in files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pinecone_wire::{KeyError, SecretKey};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// The longest key file that is read, in bytes.
const MAX_LEN: usize = 1024;

/// Generates a secret key from the system's random numbers.
///
/// # Errors
/// The system's error, if it provides no random numbers.
pub fn generate_key() -> io::Result<SecretKey> {
    let mut seed = Zeroizing::new([0; 32]);
    SysRng
        .try_fill_bytes(&mut *seed)
        .map_err(io::Error::other)?;
    Ok(SecretKey::from_seed(&seed))
}

/// Keeps secret keys in files: 64 hexadecimal digits, readable by their owner only. The program `pinecone` uses the
/// same format.
pub trait KeyFile: Sized {
    /// Reads the key from a file.
    ///
    /// # Errors
    /// [`KeyFileError`], also if other users have access to the file.
    fn load(path: &Path) -> Result<Self, KeyFileError>;

    /// Writes the key to a new file of mode 0600. An existing file is never overwritten.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if there is such a file; otherwise the reason why it cannot be written.
    fn save(&self, path: &Path) -> Result<(), KeyFileError>;

    /// Reads the key from a file. If there is none, generates a key and saves it.
    ///
    /// # Errors
    /// [`KeyFileError`].
    fn load_or_create(path: &Path) -> Result<Self, KeyFileError>;
}

/// The error when a key cannot be read from a file or written to it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("cannot read the key file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path does not name a regular file.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Other users have access to the file.
    #[error("others have access to the key file {} (mode {mode:04o})", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file does not hold a key.
    #[error("the key file {} is malformed: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The error in its text.
        source: KeyError,
    },
    /// The file exists already.
    #[error("the key file {} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write the key file {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system provides no random numbers for a key.
    #[error("cannot generate a key: {0}")]
    Generate(io::Error),
}

impl KeyFile for SecretKey {
    fn load(path: &Path) -> Result<Self, KeyFileError> {
        let unreadable = |source| KeyFileError::Read {
            path: path.to_owned(),
            source,
        };
        // Opening a FIFO waits, and opening a device may do anything.
        if !fs::metadata(path).map_err(unreadable)?.is_file() {
            let path = path.to_owned();
            return Err(KeyFileError::NotAFile { path });
        }
        let file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = path.to_owned();
            return Err(KeyFileError::Exposed { path, mode });
        }
        // One byte more than is accepted, so that a longer file is noticed.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN + 1));
        (file.take(MAX_LEN as u64 + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
        let len = bytes.len();
        let malformed = |source| KeyFileError::Malformed {
            path: path.to_owned(),
            source,
        };
        let text = str::from_utf8(&bytes).map_err(|_| malformed(KeyError::Malformed { len }))?;
        text.parse().map_err(malformed)
    }

    fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::Write {
            path: path.to_owned(),
            source,
        };
        // The key is written to a temporary file, then linked: no reader ever sees half a key, and no file is
        // overwritten.
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let written = write_new(Path::new(&aside), self);
        let linked = written.and_then(|()| fs::hard_link(&aside, path));
        // Fails if the file could not be written, which is reported below.
        let _ = fs::remove_file(&aside);
        linked.map_err(|error| match error.kind() {
            // The temporary file was removed before it was written, so the file that exists is the other one.
            io::ErrorKind::AlreadyExists => KeyFileError::Exists {
                path: path.to_owned(),
            },
            _ => failed(error),
        })
    }

    fn load_or_create(path: &Path) -> Result<Self, KeyFileError> {
        match Self::load(path) {
            Err(KeyFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let key = generate_key().map_err(KeyFileError::Generate)?;
        match key.save(path) {
            Ok(()) => Ok(key),
            // Another process was faster, so its key is used.
            Err(KeyFileError::Exists { .. }) => Self::load(path),
            Err(error) => Err(error),
        }
    }
}

fn write_new(path: &Path, key: &SecretKey) -> io::Result<()> {
    // A process with the same number may have left a temporary file behind.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(key.to_hex().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_created_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let key = SecretKey::load_or_create(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", *key.to_hex()));
        for again in [SecretKey::load_or_create(&path), SecretKey::load(&path)] {
            assert_eq!(again.unwrap().public_key(), key.public_key());
        }
        let other = generate_key().unwrap();
        let exists = other.save(&path).unwrap_err();
        assert!(matches!(exists, KeyFileError::Exists { .. }), "{exists}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 1, "nothing is left aside");
    }

    #[test]
    fn exposed_and_malformed_key_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        SecretKey::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = SecretKey::load(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Exposed { .. }), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let long = "0".repeat(5000);
        for content in [
            &b""[..],
            b"xyz",
            &[b'0'; 63],
            long.as_bytes(),
            &[0xff, 0xfe],
        ] {
            fs::write(&path, content).unwrap();
            let error = SecretKey::load_or_create(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Malformed { .. }), "{error}");
        }
        let error = SecretKey::load_or_create(directory.path()).unwrap_err();
        assert!(matches!(error, KeyFileError::NotAFile { .. }), "{error}");
        let missing = SecretKey::load(Path::new("/nonexistent/key")).unwrap_err();
        assert!(matches!(missing, KeyFileError::Read { .. }), "{missing}");
    }
}
