use std::fmt;

use zeroize::Zeroizing;

/// The fewest bytes of a password.
const SHORTEST: usize = 8;
/// The most bytes of a password.
const LONGEST: usize = 1024;

/// The password of a private network, which is erased from memory when dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

/// The reason why bytes are not a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The password has fewer than 8 or more than 1024 bytes.
    #[error("a password has 8 to 1024 bytes, this one has {0}")]
    Length(usize),
}

impl Password {
    /// Creates the password with these bytes.
    ///
    /// # Errors
    /// There are fewer than 8 or more than 1024.
    pub fn new(bytes: &[u8]) -> Result<Self, PasswordError> {
        if !(SHORTEST..=LONGEST).contains(&bytes.len()) {
            return Err(PasswordError::Length(bytes.len()));
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }

    /// Creates the password in the content of a file: its bytes without the line break at its end, if any.
    ///
    /// # Errors
    /// There are fewer than 8 or more than 1024.
    pub fn from_file_content(content: &[u8]) -> Result<Self, PasswordError> {
        let line = content.strip_suffix(b"\n").unwrap_or(content);
        Self::new(line.strip_suffix(b"\r").unwrap_or(line))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}
