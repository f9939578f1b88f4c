//! The secret key: a file that only its owner can read, created at the first start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use pinecone::{KeyError, SecretKey};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::directories;
use crate::failure::Failure;

/// The longest key file that is accepted, in bytes.
const MAX_LEN: usize = 1024;

/// The options that name the key of `pinecone run`.
#[derive(Debug, Args)]
pub(crate) struct KeyOptions {
    /// File that holds the secret key. If there is none, it is created with a new key. [default:
    /// $XDG_STATE_HOME/pinecone/key, else ~/.local/state/pinecone/key]
    #[arg(long, value_name = "PATH", conflicts_with = "secretkey")]
    key_file: Option<PathBuf>,
    /// The secret key itself. Other users of the machine can see it in the process list.
    #[arg(long, value_name = "HEX")]
    secretkey: Option<String>,
}

/// A key for a node to run with.
#[derive(Debug)]
pub(crate) struct NodeKey {
    pub(crate) key: SecretKey,
    /// Keeps other nodes on this machine from using the key file.
    pub(crate) lock: KeyLock,
}

/// A lock on the key file, if the key came from one. Released when dropped.
#[derive(Debug)]
pub(crate) struct KeyLock {
    _file: Option<File>,
}

impl NodeKey {
    /// Wraps a key that is in no file.
    pub(crate) fn unlocked(key: SecretKey) -> Self {
        Self {
            key,
            lock: KeyLock { _file: None },
        }
    }

    /// Reads the key from a file that only its owner can read, and locks the file.
    pub(crate) fn hold(path: &Path) -> Result<Self, Failure> {
        let file = open(path)?;
        let key = read(&file, path)?;
        lock(&file, path)?;
        Ok(Self {
            key,
            lock: KeyLock { _file: Some(file) },
        })
    }

    /// Like [`Self::hold`], but creates the file with a new key if it does not exist.
    fn hold_or_create(path: &Path) -> Result<Self, Failure> {
        let absent = fs::metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        // If another process creates it first, its key is used.
        if absent && create(path)?.is_some() {
            tracing::info!(path = %path.display(), "created a new key");
        }
        Self::hold(path)
    }
}

impl KeyOptions {
    /// Checks the key as far as possible without creating or locking the key file.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if let Some(hex) = &self.secretkey {
            return parse(hex, "--secretkey").map(drop);
        }
        let path = self.path()?;
        match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => load(&path).map(drop),
        }
    }

    /// Returns the key, creating the key file if it does not exist.
    pub(crate) fn node_key(&self) -> Result<NodeKey, Failure> {
        if let Some(hex) = &self.secretkey {
            let key = parse(hex, "--secretkey")?;
            tracing::warn!(
                "a key given by --secretkey is visible in the process list: use --key-file"
            );
            return Ok(NodeKey::unlocked(key));
        }
        NodeKey::hold_or_create(&self.path()?)
    }

    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.key_file {
            return Ok(path.clone());
        }
        let directory = directories::state().ok_or_else(|| {
            Failure::usage("there is no home directory for the key file: name one with --key-file")
        })?;
        Ok(directory.join("key"))
    }
}

/// Reads the key from a file that only its owner can read.
pub(crate) fn load(path: &Path) -> Result<SecretKey, Failure> {
    read(&open(path)?, path)
}

/// Reads the key from standard input.
pub(crate) fn read_stdin() -> Result<SecretKey, Failure> {
    let text = read_limited(io::stdin())
        .map_err(|e| Failure::runtime(format!("cannot read the key from standard input: {e}")))?;
    parse_bytes(&text, "standard input")
}

/// Creates a file with a new key, mode 0600, and its directory if that is the default one. Returns
/// `None` if the file already exists.
pub(crate) fn create(path: &Path) -> Result<Option<SecretKey>, Failure> {
    let failed = |e: io::Error| {
        Failure::runtime(format!("cannot write the key file {}: {e}", path.display()))
    };
    directories::prepare(path, "--key-file")?;
    if let Ok(metadata) = fs::metadata(path) {
        check_type(&metadata, path)?;
    }
    if let Ok(target) = fs::read_link(path)
        && fs::metadata(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    {
        return Err(Failure::usage(format!(
            "the key file {} is a link to {}, which does not exist: remove the link, or create the \
             file with `pinecone genkey --key-file`",
            path.display(),
            target.display()
        )));
    }
    let directory = directories::parent(path);
    let key = generate()?;
    // A hard link to a finished file: the key file is never seen half written, and never overwritten.
    let aside = directory.join(format!(".pinecone-key.{}", std::process::id()));
    let written = write_new(&aside, &key).and_then(|()| match fs::hard_link(&aside, path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    });
    let _ = fs::remove_file(&aside);
    Ok(written.map_err(failed)?.then_some(key))
}

/// Generates a key.
pub(crate) fn generate() -> Result<SecretKey, Failure> {
    pinecone::generate_key().map_err(|e| Failure::runtime(format!("cannot generate a key: {e}")))
}

/// Returns the key in hexadecimal, as it is stored.
pub(crate) fn to_hex(key: &SecretKey) -> Zeroizing<String> {
    Zeroizing::new(hex::encode(*key.seed()))
}

/// Parses a key that came from `origin`.
pub(crate) fn parse(text: &str, origin: &str) -> Result<SecretKey, Failure> {
    text.parse().map_err(|e: KeyError| {
        Failure::usage(format!("{origin}: {e}; `pinecone genkey` creates one"))
    })
}

fn write_new(path: &Path, key: &SecretKey) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(to_hex(key).as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Opens a key file. Anything but a regular file is refused before it is opened: opening a FIFO
/// blocks, and opening a device may have side effects.
fn open(path: &Path) -> Result<File, Failure> {
    let metadata = fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    check_type(&metadata, path)?;
    OpenOptions::new()
        .read(true)
        // It may have been replaced by a FIFO since.
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)
        .map_err(|e| unreadable(path, &e))
}

fn check_type(metadata: &fs::Metadata, path: &Path) -> Result<(), Failure> {
    let kind = metadata.file_type();
    let name = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(Failure::usage(format!(
        "the key file {} is {name}: name a regular file with --key-file",
        path.display()
    )))
}

/// Locks a key file for this process until the file is closed.
fn lock(file: &File, path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(Failure::runtime(format!(
            "another node uses the key file {shown}: stop it, or give this node a key of its own \
             with --key-file"
        ))),
        // Some network file systems do not lock files, or only those that are open for writing.
        Err(error) => {
            tracing::warn!(
                path = %shown,
                %error,
                "cannot lock the key file: make sure that no other node uses it"
            );
            Ok(())
        }
    }
}

fn read(file: &File, path: &Path) -> Result<SecretKey, Failure> {
    let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
    check_type(&metadata, path)?;
    let shown = path.display();
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::runtime(format!(
            "others have access to the key file {shown} (mode {mode:04o}): run chmod 600 {shown}"
        )));
    }
    let text = read_limited(file).map_err(|e| unreadable(path, &e))?;
    parse_bytes(&text, &format!("the key file {shown} is malformed"))
}

fn read_limited(source: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // One more than is accepted, so that a longer file is noticed.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN + 1));
    source.take(MAX_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Parses a key from the bytes that were read from `origin`.
fn parse_bytes(bytes: &[u8], origin: &str) -> Result<SecretKey, Failure> {
    let wrong = |what: &str| {
        Failure::usage(format!(
            "{origin}: {what}, expected a key of 64 hexadecimal digits; `pinecone genkey` creates one"
        ))
    };
    match std::str::from_utf8(bytes) {
        _ if bytes.len() > MAX_LEN => Err(wrong(&format!("it is longer than {MAX_LEN} bytes"))),
        Ok(text) if text.trim().is_empty() => Err(wrong("it is empty")),
        Ok(text) => parse(text, origin),
        Err(_) => Err(wrong("it is not text")),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    let say = |help| format!("cannot read the key file {shown}: {error}{help}");
    match error.kind() {
        io::ErrorKind::NotFound => {
            Failure::usage(say("; `pinecone genkey --key-file` creates one"))
        }
        io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::InvalidInput => {
            Failure::usage(say("; check the path given with --key-file"))
        }
        io::ErrorKind::PermissionDenied => Failure::runtime(say(
            "; run as its owner, or name another file with --key-file",
        )),
        _ => Failure::runtime(say("; name another file with --key-file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_created_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let public = || NodeKey::hold_or_create(&path).unwrap().key.public_key();
        let key = public();
        assert_eq!(public(), key);
        assert!(create(&path).unwrap().is_none());
        assert_eq!(load(&path).unwrap().public_key(), key);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left aside: {names:?}");
    }

    #[test]
    fn unsafe_and_malformed_key_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let failure = load(&path).unwrap_err();
            assert_eq!(failure.code, 1);
            assert!(failure.to_string().contains("run chmod 600"), "{failure}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        load(&path).unwrap();
        for content in ["", "xyz", &"0".repeat(63), &"0".repeat(5000)] {
            fs::write(&path, content).unwrap();
            assert_eq!(load(&path).unwrap_err().code, 2, "{content:?}");
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        for wrong in [
            path.as_path(),
            directory.path(),
            Path::new("/nonexistent/key"),
        ] {
            assert_eq!(load(wrong).unwrap_err().code, 2, "{}", wrong.display());
        }
    }

    #[test]
    fn a_dangling_link_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let target = directory.path().join("gone");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let failure = NodeKey::hold_or_create(&path).unwrap_err();
        assert_eq!(failure.code, 2);
        let expected = format!("is a link to {}, which", target.display());
        assert!(failure.to_string().contains(&expected), "{failure}");
        let key = create(&target).unwrap().unwrap().public_key();
        let held = NodeKey::hold_or_create(&path).unwrap();
        assert_eq!(held.key.public_key(), key);
    }

    #[test]
    fn a_key_file_is_held_by_one_node_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create(&path).unwrap();
        let held = NodeKey::hold(&path).unwrap();
        let failure = NodeKey::hold(&path).unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(
            failure.to_string().contains(path.to_str().unwrap()),
            "{failure}"
        );
        // Reading it needs no lock.
        assert_eq!(load(&path).unwrap().public_key(), held.key.public_key());
        drop(held);
        NodeKey::hold(&path).unwrap();
    }
}
