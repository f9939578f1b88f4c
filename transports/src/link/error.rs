use std::io;

use crate::error::SwapError;

/// The reason why a link is not encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkFailed {
    /// This node requires encryption and the peer does not offer it.
    #[error(
        "peer does not offer to encrypt the link: it is another program or has --encrypt-links off"
    )]
    NotOffered,
    /// The peer's message is not valid for these handshakes.
    #[error(
        "encryption handshake failed: the peer has seen other handshakes, or does not follow the protocol"
    )]
    Refused,
    /// The peer closed the stream during the encryption handshake.
    #[error("peer closed the stream during the encryption handshake")]
    Eof,
    /// The system has no randomness, or the state of the encryption is not usable.
    #[error("encryption failed: {0}")]
    Internal(String),
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(#[from] io::Error),
}

impl From<SwapError> for LinkFailed {
    fn from(error: SwapError) -> Self {
        match error {
            SwapError::Eof { .. } => Self::Eof,
            SwapError::Io(error) => Self::Io(error),
        }
    }
}

impl From<snow::Error> for LinkFailed {
    fn from(error: snow::Error) -> Self {
        match error {
            snow::Error::Decrypt | snow::Error::Dh | snow::Error::Input => Self::Refused,
            // Does not contain what the peer sent.
            error => Self::Internal(error.to_string()),
        }
    }
}
