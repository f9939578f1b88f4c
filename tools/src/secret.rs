//! Where the secret key comes from: a file that nobody else can read, made at the first start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use pinecone::{KeyError, SecretKey};
use zeroize::Zeroizing;

use crate::directories;
use crate::failure::Failure;

/// The longest key file that is read.
const MAX_LEN: u64 = 1024;

/// How the daemon is told its key.
#[derive(Debug, Args)]
pub(crate) struct KeyOptions {
    /// File that holds the secret key; it is made, with a new key, if there is none. [default:
    /// $XDG_STATE_HOME/pinecone/key or ~/.local/state/pinecone/key]
    #[arg(long, value_name = "PATH", conflicts_with = "secretkey")]
    key_file: Option<PathBuf>,
    /// The secret key itself. Other users of the machine can see it in the process list.
    #[arg(long, value_name = "HEX")]
    secretkey: Option<String>,
}

impl KeyOptions {
    /// The key that they name.
    pub(crate) fn secret_key(&self) -> Result<SecretKey, Failure> {
        if let Some(hex) = &self.secretkey {
            let key = parse(hex, "--secretkey")?;
            tracing::warn!(
                "a key given by --secretkey is visible in the process list: use --key-file"
            );
            return Ok(key);
        }
        let path = match &self.key_file {
            Some(path) => path.clone(),
            None => directories::state()
                .ok_or_else(|| {
                    Failure::usage(
                        "there is no home directory to keep the key in: use --key-file PATH",
                    )
                })?
                .join("key"),
        };
        load_or_create(&path)
    }
}

/// Reads the key from a file that only its owner can read.
pub(crate) fn load(path: &Path) -> Result<SecretKey, Failure> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    read(&file, path)
}

/// Reads the key from standard input.
pub(crate) fn read_stdin() -> Result<SecretKey, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN as usize));
    io::stdin()
        .take(MAX_LEN)
        .read_to_string(&mut text)
        .map_err(|e| Failure::runtime(format!("cannot read the key from standard input: {e}")))?;
    parse(&text, "standard input")
}

/// As [`load`]; if there is no such file, makes it, with a new key.
pub(crate) fn load_or_create(path: &Path) -> Result<SecretKey, Failure> {
    match File::open(path) {
        Ok(file) => return read(&file, path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(unreadable(path, &e)),
    }
    match create(path)? {
        Some(key) => {
            tracing::info!(path = %path.display(), "made a new key");
            Ok(key)
        }
        // Another process was faster.
        None => load(path),
    }
}

/// Makes a file with a new key, mode 0600, and the directory that it is in, mode 0700. Nothing if
/// there is a file already.
pub(crate) fn create(path: &Path) -> Result<Option<SecretKey>, Failure> {
    let failed = |e: io::Error| {
        Failure::runtime(format!("cannot write the key file {}: {e}", path.display()))
    };
    let key = generate()?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    // Written aside, then linked: nobody ever sees half a key, nothing is ever overwritten.
    let aside = directory.join(format!(".pinecone-key.{}", std::process::id()));
    let written = write_new(&aside, &key).and_then(|()| match fs::hard_link(&aside, path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    });
    let _ = fs::remove_file(&aside);
    Ok(written.map_err(failed)?.then_some(key))
}

/// A new key.
pub(crate) fn generate() -> Result<SecretKey, Failure> {
    pinecone::generate_key().map_err(|e| Failure::runtime(format!("cannot make a key: {e}")))
}

/// The key in hex, as it is stored.
pub(crate) fn to_hex(key: &SecretKey) -> Zeroizing<String> {
    Zeroizing::new(hex::encode(*key.seed()))
}

/// Reads a key that `origin` gave.
pub(crate) fn parse(text: &str, origin: &str) -> Result<SecretKey, Failure> {
    text.parse().map_err(|e: KeyError| {
        Failure::usage(format!("{origin}: {e}; `pinecone genkey` makes one"))
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

fn read(file: &File, path: &Path) -> Result<SecretKey, Failure> {
    let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
    let shown = path.display();
    if !metadata.is_file() {
        return Err(Failure::runtime(format!(
            "the key file {shown} is not a file: name one with --key-file"
        )));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Failure::runtime(format!(
            "others have access to the key file {shown} (mode {mode:04o}): run chmod 600 {shown}"
        )));
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_LEN as usize));
    file.take(MAX_LEN)
        .read_to_string(&mut text)
        .map_err(|e| unreadable(path, &e))?;
    parse(&text, &format!("the key file {shown} is malformed"))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let shown = path.display();
    let help = match error.kind() {
        io::ErrorKind::NotFound => "; `pinecone genkey --key-file` makes one",
        io::ErrorKind::PermissionDenied => "; run as its owner, or name another with --key-file",
        _ => "; name another with --key-file",
    };
    Failure::runtime(format!("cannot read the key file {shown}: {error}{help}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/key");
        let key = load_or_create(&path).unwrap();
        assert_eq!(
            load_or_create(&path).unwrap().public_key(),
            key.public_key()
        );
        assert!(create(&path).unwrap().is_none());
        assert_eq!(load(&path).unwrap().public_key(), key.public_key());
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left aside: {names:?}");
    }

    #[test]
    fn files_that_others_can_read_or_that_hold_no_key_are_refused() {
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
        assert_eq!(load(&path).unwrap_err().code, 1);
        assert_eq!(load(directory.path()).unwrap_err().code, 1);
        assert_eq!(load(Path::new("/nonexistent/key")).unwrap_err().code, 1);
    }
}
