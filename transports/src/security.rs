//! The demands of a node on a peering's stream after the handshakes: encryption, then the proof of the peer's key.
//!
//! [`Security::offers`] says what the handshake offers, [`Security::agree`] what both sides do. Then
//! [`Security::secure_stream`] does it over an asynchronous stream, or [`Security::secure_socket`] over a socket that
//! goes to the data plane without a relay.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use pinecone_wire::proof::{Binding, BindingKind, OtherChannel, Password, Proven, Stream};
use pinecone_wire::{Extensions, HANDSHAKE_LEN, SecretKey};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::exchange::{Exchange, SocketExchange, StreamExchange};
use crate::link::{self, EncryptLinks, EncryptedStream, LinkFailed};
use crate::proof::{self, ProofFailed};

/// The demands of a node on its peers beyond a handshake. The default demands nothing, proves the node's key to peers that
/// do the same, and encrypts plain streams to them.
#[derive(Clone, Debug, Default)]
pub struct SecurityOptions {
    /// Whether peers that do not prove their key are refused.
    pub require_proof: bool,
    /// The password of the network. Peers that do not prove that they know it are refused.
    pub password: Option<Password>,
    /// Whether plain streams are encrypted.
    pub encrypt_links: EncryptLinks,
}

/// The [`SecurityOptions`] of a node, with its key.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    key: SecretKey,
    options: SecurityOptions,
}

/// The reason why a peering's stream is not used after valid handshakes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecurityFailed {
    /// The peer has not proven its key.
    #[error(transparent)]
    Proof(#[from] ProofFailed),
    /// The stream is not encrypted.
    #[error(transparent)]
    Link(#[from] LinkFailed),
}

/// The handshakes of both sides, as they were sent. That of the peer has been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshakes<'a> {
    pub(crate) ours: &'a [u8; HANDSHAKE_LEN],
    pub(crate) theirs: &'a [u8; HANDSHAKE_LEN],
}

/// The channel that carries a stream before anything of this module is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel {
    /// [`Binding::None`], or the exporter of TLS.
    pub(crate) binding: Binding,
    /// The handling of a peer that sees another kind of channel. [`OtherChannel::Unbound`] only where TLS may end at a
    /// reverse proxy: for a dialler whose certificate check was that of an authority, not of a node key.
    pub(crate) other: OtherChannel,
}

/// The steps that both sides take after the handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// The stream is encrypted. Only with `prove`, as the encryption alone keeps out nobody.
    pub(crate) encrypt: bool,
    /// Both sides prove their keys.
    pub(crate) prove: bool,
}

impl Channel {
    /// A stream that is not encrypted.
    pub(crate) const PLAIN: Self = Self {
        binding: Binding::None,
        other: OtherChannel::Refuse,
    };
}

impl Security {
    pub(crate) fn new(key: SecretKey, options: SecurityOptions) -> Self {
        Self { key, options }
    }

    /// Returns the extensions to offer in the handshake over a channel of this kind.
    pub(crate) fn offers(&self, channel: BindingKind) -> Extensions {
        if channel == BindingKind::None && self.options.encrypt_links != EncryptLinks::Off {
            Extensions::PEERING_PROOF.union(Extensions::ENCRYPTED_LINK)
        } else {
            Extensions::PEERING_PROOF
        }
    }

    /// Returns what follows these handshakes.
    ///
    /// # Errors
    /// The peer does not offer what this node requires.
    pub(crate) fn agree(
        &self,
        handshakes: Handshakes<'_>,
        channel: BindingKind,
    ) -> Result<Agreement, SecurityFailed> {
        let both = |extension| handshakes.all().iter().all(|e| e.contains(extension));
        let prove = both(Extensions::PEERING_PROOF);
        let encrypt = prove && both(Extensions::ENCRYPTED_LINK);
        if !prove && (self.options.require_proof || self.options.password.is_some()) {
            return Err(ProofFailed::NotOffered.into());
        }
        let is_plain = channel == BindingKind::None && !encrypt;
        if is_plain && self.options.encrypt_links == EncryptLinks::Require {
            return Err(LinkFailed::NotOffered.into());
        }
        Ok(Agreement { encrypt, prove })
    }

    /// Encrypts a stream and exchanges proofs over it, as both sides offer, without a time limit: the caller drops the
    /// future. Returns what the peer has proven, if it has.
    ///
    /// # Errors
    /// The peer is refused or gone. The stream is dropped.
    pub(crate) async fn secure_stream<S>(
        &self,
        stream: S,
        handshakes: Handshakes<'_>,
        channel: Channel,
    ) -> Result<(SecuredStream<S>, Option<Proven>), SecurityFailed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let agreement = self.agree(handshakes, channel.binding.kind())?;
        let Handshakes { ours, theirs } = handshakes;
        let (mut stream, channel) = if agreement.encrypt {
            let encrypted = link::encrypt_link(stream, ours, theirs).await?;
            let channel = Channel {
                binding: encrypted.binding(),
                other: OtherChannel::Refuse,
            };
            (SecuredStream::Encrypted(Box::new(encrypted)), channel)
        } else {
            (SecuredStream::AsItWas(stream), channel)
        };
        let proven = if agreement.prove {
            let exchange = &mut StreamExchange(&mut stream);
            Some(self.prove(exchange, handshakes, channel).await?)
        } else {
            None
        };
        Ok((stream, proven))
    }

    /// Exchanges proofs over a plain socket, if both sides offer that, without a time limit: the caller drops the future.
    /// Returns what the peer has proven, if it has.
    ///
    /// Not for a socket that is to be encrypted ([`Agreement::encrypt`]), which becomes a stream first.
    ///
    /// # Errors
    /// The peer is refused or gone. The socket must not be used again.
    pub(crate) async fn secure_socket(
        &self,
        socket: &mut SocketExchange,
        handshakes: Handshakes<'_>,
    ) -> Result<Option<Proven>, SecurityFailed> {
        let agreement = self.agree(handshakes, BindingKind::None)?;
        if agreement.encrypt {
            let reason = "a socket cannot be encrypted without a stream".to_owned();
            return Err(LinkFailed::Internal(reason).into());
        }
        if !agreement.prove {
            return Ok(None);
        }
        Ok(Some(self.prove(socket, handshakes, Channel::PLAIN).await?))
    }

    async fn prove<X: Exchange>(
        &self,
        exchange: &mut X,
        handshakes: Handshakes<'_>,
        channel: Channel,
    ) -> Result<Proven, ProofFailed> {
        let stream = Stream {
            ours: handshakes.ours,
            theirs: handshakes.theirs,
            binding: channel.binding,
            other_channel: channel.other,
        };
        proof::run(exchange, &self.key, self.options.password.as_ref(), stream).await
    }
}

impl Handshakes<'_> {
    fn all(&self) -> [Extensions; 2] {
        [self.ours, self.theirs].map(|handshake| {
            let [_, a, b, c, ..] = *handshake;
            Extensions([a, b, c])
        })
    }
}

/// A stream after [`Security::secure_stream`].
#[derive(Debug)]
pub(crate) enum SecuredStream<S> {
    /// No encryption was added.
    AsItWas(S),
    /// The stream is an encrypted link.
    Encrypted(Box<EncryptedStream<S>>),
}

impl<S: AsyncRead + Unpin> AsyncRead for SecuredStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::AsItWas(stream) => Pin::new(stream).poll_read(cx, out),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SecuredStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::AsItWas(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::AsItWas(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::AsItWas(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests;
