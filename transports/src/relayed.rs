//! Peerings over streams that a relay thread serves.
//!
//! The stages of such a stream all run there: its layers, the handshake, then the relay between it and a socket
//! pair, whose other end is for the data plane.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;

use pinecone_wire::{Handshake, PublicKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::admission::Place;
use crate::descriptors::{self, Purpose};
use crate::layers::{self, Layered, Role};
use crate::stream::{RelayTask, pipe, relay};
use crate::{Direction, Established, HandshakeFailed, Link, Transports};

/// A stream after its handshake.
pub(crate) struct Shaken {
    /// The socket for the data plane.
    pub(crate) stream: OwnedFd,
    pub(crate) peer: Handshake,
    /// The task that relays the stream, if there is one.
    pub(crate) relay: Option<RelayTask>,
}

impl Shaken {
    /// A stream that is a socket itself.
    pub(crate) const fn direct(stream: OwnedFd, peer: Handshake) -> Self {
        Self {
            stream,
            peer,
            relay: None,
        }
    }
}

impl Transports {
    /// Adds the layers of its scheme to a connected TCP socket, performs the handshake and relays, all on a relay
    /// thread. One time limit holds for the layers and the handshake together.
    ///
    /// Dropping the future closes the connection.
    pub(crate) async fn shake_relayed(
        &self,
        socket: OwnedFd,
        role: Role,
        expected: Option<PublicKey>,
        name: String,
    ) -> Result<Shaken, HandshakeFailed> {
        let shared = self.shared.clone();
        let open = async move || layers::add(&shared, socket.into(), role).await;
        self.on_relay_thread(open, expected, name).await
    }

    /// Makes a peering stream out of any asynchronous stream. A relay thread performs the handshake, and then relays
    /// between the stream and the socket that is returned.
    ///
    /// Dropping the future drops the stream.
    ///
    /// # Errors
    /// The handshake failed; the stream is dropped.
    pub async fn adopt_stream<S>(
        &self,
        stream: S,
        remote: String,
        link: Link,
        direction: Direction,
    ) -> Result<Established, HandshakeFailed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let open = async move || Ok(Layered::plain(stream));
        let shaken = self.on_relay_thread(open, None, remote.clone()).await?;
        Ok(Established {
            stream: shaken.stream,
            key: shaken.peer.public_key,
            extensions: shaken.peer.extensions,
            remote,
            scheme: None,
            link,
            direction,
            priority: 0,
            static_peer: None,
            place: Place::unlimited(),
            relay: shaken.relay,
        })
    }

    async fn on_relay_thread<F, R>(
        &self,
        open: F,
        expected: Option<PublicKey>,
        name: String,
    ) -> Result<Shaken, HandshakeFailed>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<Layered, HandshakeFailed>>,
    {
        let transports = self.clone();
        let run = async move |reply: tokio::sync::oneshot::Sender<_>| {
            let limit = transports.shared.limits.handshake_timeout;
            // Outside of the future, so that a failure is counted before the stream is closed.
            let mut opened = None;
            let shaken = async {
                let layered: &mut Layered = opened.insert(open().await?);
                // The proof of the key, and encryption, follow here.
                let peer = transports.exchange(&mut layered.stream, expected).await?;
                if let Some(tls) = &layered.tls {
                    tls.peer.check_handshake(peer.public_key)?;
                }
                Ok((peer, pair()?))
            };
            let shaken = timeout(limit, shaken).await;
            let shaken = shaken.unwrap_or(Err(HandshakeFailed::Timeout(limit)));
            match (transports.count(shaken), opened) {
                (Ok((peer, (ours, workers))), Some(Layered { stream, .. })) => {
                    if reply.send(Ok((workers, peer))).is_err() {
                        return;
                    }
                    drop(transports);
                    if let Err(error) = relay(stream, ours).await {
                        tracing::debug!(remote = name, %error, "relayed stream failed");
                    }
                }
                (Err(error), _) => drop(reply.send(Err(error))),
                // It is opened before it shakes hands.
                (Ok(_), None) => {}
            }
        };
        let started = self.shared.relays.run(run);
        let (result, relay) = started.or_else(|error| self.count(Err(error.into())))?;
        let result = result.await.unwrap_or_else(|_| {
            let error = io::Error::other("its task on the relay thread has ended");
            self.count(Err(error.into()))
        });
        let (stream, peer) = result?;
        Ok(Shaken {
            stream,
            peer,
            relay: Some(relay),
        })
    }
}

/// Makes the socket pair of a relay. Fails if too few descriptors are left.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, workers) = pipe()?;
    descriptors::check(&ours, Purpose::Inbound)?;
    descriptors::check(&workers, Purpose::Inbound)?;
    Ok((ours, workers))
}
