//! The handshake of an encrypted link.

use pinecone_wire::HANDSHAKE_LEN;
use snow::{Builder, HandshakeState};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::crypto::Algorithms;
use super::error::LinkFailed;
use super::records::Records;
use super::stream::EncryptedStream;
use crate::error::SwapError;
use crate::exchange::receive;

const PROTOCOL: &str = "Noise_NN_25519_AESGCM_SHA256";
const PROLOGUE_LABEL: &[u8] = b"pinecone-encrypted-link-v1";
/// The initiator's message: its ephemeral key.
pub(super) const FIRST_LEN: usize = 32;
/// The responder's message: its ephemeral key, and a tag.
pub(super) const SECOND_LEN: usize = 48;

/// Encrypts a stream over which the peering handshakes `ours` and `theirs` were exchanged. Reads no byte beyond the
/// peer's message.
///
/// The caller limits the time, and authenticates the peer with a proof that is bound to
/// [`EncryptedStream::binding`]: before that, the peer may be anyone.
///
/// # Errors
/// The peer does not encrypt, has seen other handshakes, or is gone. The stream is dropped.
pub async fn encrypt_link<S>(
    stream: S,
    ours: &[u8; HANDSHAKE_LEN],
    theirs: &[u8; HANDSHAKE_LEN],
) -> Result<EncryptedStream<S>, LinkFailed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    exchange_keys(stream, ours, theirs, None).await
}

/// Encrypts a stream, with a given ephemeral secret for tests.
pub(super) async fn exchange_keys<S>(
    mut stream: S,
    ours: &[u8; HANDSHAKE_LEN],
    theirs: &[u8; HANDSHAKE_LEN],
    ephemeral: Option<&[u8; 32]>,
) -> Result<EncryptedStream<S>, LinkFailed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Keys are bytes 8 to 39. They differ, as a peer with this node's own key is refused.
    let initiates = ours[8..40] < theirs[8..40];
    let (first, second) = if initiates {
        (ours, theirs)
    } else {
        (theirs, ours)
    };
    let prologue = [PROLOGUE_LABEL, first, second].concat();
    let mut builder =
        Builder::with_resolver(PROTOCOL.parse()?, Box::new(Algorithms)).prologue(&prologue)?;
    if let Some(secret) = ephemeral {
        builder = builder.fixed_ephemeral_key_for_testing_only(secret);
    }
    let mut noise = if initiates {
        let mut noise = builder.build_initiator()?;
        send(&mut noise, &mut stream).await?;
        let message: [u8; SECOND_LEN] = receive(&mut stream).await?;
        noise.read_message(&message, &mut [])?;
        noise
    } else {
        let mut noise = builder.build_responder()?;
        let message: [u8; FIRST_LEN] = receive(&mut stream).await?;
        noise.read_message(&message, &mut [])?;
        send(&mut noise, &mut stream).await?;
        noise
    };
    let hash = handshake_hash(&mut noise)?;
    let records = Records::new(noise.into_transport_mode()?);
    Ok(EncryptedStream::new(stream, records, hash))
}

async fn send<S>(noise: &mut HandshakeState, stream: &mut S) -> Result<(), LinkFailed>
where
    S: AsyncWrite + Unpin,
{
    // `snow` wants room for a tag, even if the message has none.
    let mut message = [0; SECOND_LEN];
    let len = noise.write_message(&[], &mut message)?;
    let message = &message[..len];
    let sent = async {
        stream.write_all(message).await?;
        stream.flush().await
    };
    Ok(sent.await.map_err(|error| SwapError::from_io(error, 0))?)
}

fn handshake_hash(noise: &mut HandshakeState) -> Result<[u8; 32], LinkFailed> {
    noise
        .get_handshake_hash()
        .try_into()
        .map_err(|_| LinkFailed::Internal("the hash does not have 32 bytes".to_owned()))
}
