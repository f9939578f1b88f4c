//! Reading the head of a request or response.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest head in bytes.
pub(super) const MAX_HEAD: usize = 8 * 1024;

/// Bytes that one read takes.
const READ: usize = 1024;

/// A head, and the bytes that came after it.
pub(super) struct Head {
    bytes: Vec<u8>,
    len: usize,
}

impl Head {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Returns the bytes after the head.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.len);
        // A stream keeps it until it is read: it should not keep the head's memory.
        self.bytes.shrink_to_fit();
        self.bytes
    }
}

/// The reason why no head was read.
pub(super) enum HeadError {
    /// The first byte begins no HTTP message.
    NotHttp,
    TooLong,
    Eof,
    Io(io::Error),
}

/// Reads the head of an HTTP message. The caller limits the time.
pub(super) async fn read_head<S: AsyncRead + Unpin>(io: &mut S) -> Result<Head, HeadError> {
    let mut bytes = Vec::new();
    let mut is_line_empty = true;
    loop {
        let from = bytes.len();
        bytes.resize(from + READ, 0);
        let n = io.read(&mut bytes[from..]).await.map_err(HeadError::Io)?;
        bytes.truncate(from + n);
        if n == 0 {
            return Err(HeadError::Eof);
        }
        if !bytes[0].is_ascii_uppercase() {
            return Err(HeadError::NotHttp);
        }
        for (i, byte) in bytes.iter().enumerate().skip(from) {
            match byte {
                // No line before the first one is empty, as the first byte is a letter.
                b'\n' if is_line_empty && i < MAX_HEAD => {
                    let len = i + 1;
                    return Ok(Head { bytes, len });
                }
                b'\n' => is_line_empty = true,
                b'\r' => {}
                _ => is_line_empty = false,
            }
        }
        if bytes.len() >= MAX_HEAD {
            return Err(HeadError::TooLong);
        }
    }
}
