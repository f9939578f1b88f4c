use std::io;

use pinecone_wire::proof::ProofError;

use crate::error::SwapError;

/// The reason why a peer has not proven its key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFailed {
    /// This node requires a proof and the peer does not offer it.
    #[error(
        "peer does not offer to prove its key, as --require-proof demands: it is another program, an older \
         version, or a replay"
    )]
    NotOffered,
    /// The peer's proof is refused.
    #[error(transparent)]
    Refused(#[from] ProofError),
    /// The peer closed the stream during the proof.
    #[error("peer closed the stream during the proof: its log says why it refuses this node")]
    Eof,
    /// The stream failed.
    #[error("stream failed: {0}")]
    Io(#[from] io::Error),
}

impl From<SwapError> for ProofFailed {
    fn from(error: SwapError) -> Self {
        match error {
            SwapError::Eof { .. } => Self::Eof,
            SwapError::Io(error) => Self::Io(error),
        }
    }
}
