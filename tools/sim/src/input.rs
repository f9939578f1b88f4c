//! Reading input files.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::Error;

/// The largest size of a file in bytes: enough for ten million links between names of ten letters.
const MAX_LEN: u64 = 256 << 20;

/// Reads a text file. Refuses devices and FIFOs, which may never end.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let text = fs::metadata(path).and_then(|metadata| {
        let wrong = if !metadata.is_file() {
            "it is not a regular file: give a text file"
        } else if metadata.len() > MAX_LEN {
            "it is longer than 256 MiB: give a shorter one"
        } else {
            return fs::read_to_string(path);
        };
        Err(io::Error::other(wrong))
    });
    text.map_err(|source| Error::Read {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        for path in ["/dev/zero", "/"] {
            let error = read(Path::new(path)).unwrap_err();
            let Error::Read { source, .. } = error else {
                panic!("{error}");
            };
            assert!(
                source.to_string().contains("not a regular file"),
                "{source}"
            );
        }
        assert!(read(Path::new("Cargo.toml")).is_ok());
    }
}
