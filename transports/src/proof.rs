//! The exchange of the peering proof (`docs/peering-proof.md`) over a stream. The format and the checks are those of
//! [`pinecone_wire::proof`].

mod error;

pub use error::ProofFailed;

use pinecone_wire::SecretKey;
use pinecone_wire::proof::{Challenge, Password, Proven, RANDOM_LEN, Stream};
use rand::Rng;
use zeroize::Zeroizing;

use crate::exchange::Exchange;

/// Proves `key` to the peer and checks the peer's proof, without a time limit. Reads no byte beyond it.
///
/// # Errors
/// The peer is refused or gone. The stream must not be used again.
pub(crate) async fn run<X: Exchange>(
    exchange: &mut X,
    key: &SecretKey,
    password: Option<&Password>,
    stream: Stream<'_>,
) -> Result<Proven, ProofFailed> {
    let mut random = Zeroizing::new([0; RANDOM_LEN]);
    // A generator that is seeded by the system and fit for keys.
    rand::rng().fill_bytes(&mut random[..]);
    let challenge = Challenge::new(stream, password, &random);
    let theirs = exchange.swap(challenge.message()).await?;
    let proof = challenge.answer(&theirs, key)?;
    let theirs = exchange.swap(proof.message()).await?;
    Ok(proof.verify(&theirs)?)
}
