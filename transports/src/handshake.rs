//! The peering handshake over any stream, and what comes out of it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pinecone_wire::handshake::{Extensions, Handshake};
use pinecone_wire::timing::{CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT};
use pinecone_wire::{HANDSHAKE_LEN, PublicKey, SecretKey, handshake};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::admission::{Admission, Place};
use crate::counters::Counters;
use crate::descriptors;
use crate::own_key::{COUNTERPART_WITHIN, OwnKey, Verdict};
use crate::resolve::Resolver;
use crate::{Backend, HandshakeFailed, RelayTask, StaticPeerId, TransportCounters, exchange};

/// Which side opened a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer connected to us.
    Inbound,
    /// We connected to the peer.
    Outbound,
}

/// What a stream runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Within one process.
    Pipe,
    /// A connection to another host or process.
    Remote,
}

/// A stream that is ready to carry frames.
#[derive(Debug)]
pub struct Established {
    /// A connected stream socket in blocking mode, `TCP_NODELAY` set on TCP. The handshake is
    /// done both ways, and nothing that follows it has been read.
    pub stream: OwnedFd,
    /// The key that the peer claims. Handshakes can be replayed: it is proved only by an
    /// announcement signed for this peering.
    pub key: PublicKey,
    /// What the peer offers beyond the protocol.
    pub extensions: Extensions,
    /// Where the peer is, for people: an address as dialled or accepted.
    pub remote: String,
    /// What it runs over.
    pub link: Link,
    /// Who opened it.
    pub direction: Direction,
    /// Set if the static peer driver opened it: it must be told when the peering ends, with
    /// [`StaticPeersHandle::ended`](crate::StaticPeersHandle::ended).
    pub static_peer: Option<StaticPeerId>,
    /// Its place under the limits on streams that are no peerings yet: to be dropped when it is one.
    pub place: Place,
}

/// Limits in time and number, each with the protocol's value or a safe one as its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For both halves of a handshake together: 10 s.
    pub handshake_timeout: Duration,
    /// For looking up a name: 20 s. The system's resolver waits for 5 s for each name server.
    pub lookup_timeout: Duration,
    /// For connecting to each address: 5 s.
    pub connect_timeout: Duration,
    /// Dials at a time, static peers and others together: 64. More wait for their turn.
    pub max_dials: usize,
    /// Inbound connections that may be handshaking or wait to become peerings: 1,024. For one above
    /// it the oldest handshake of the address with the most is ended; where the newcomer's address
    /// has as many, the newcomer is closed instead. Counted in [`TransportCounters::over_cap`]. Never
    /// more than an eighth of the descriptors that the process may have at its start.
    pub inbound_handshakes: usize,
    /// Inbound connections of one remote address (IPv6: one /64) that may be handshaking or wait to
    /// become peerings: 512, and at most half of those that descriptors allow. It keeps one host from
    /// taking every place.
    /// Also counted in [`TransportCounters::over_cap`].
    pub inbound_handshakes_per_address: usize,
    /// The longest TCP segment, in bytes, that either side of a connection sends; by default what
    /// the interfaces allow. For paths that swallow longer packets without a word.
    pub max_segment: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: HANDSHAKE_TIMEOUT,
            lookup_timeout: Duration::from_secs(20),
            connect_timeout: CONNECT_TIMEOUT,
            max_dials: 64,
            inbound_handshakes: 1024,
            inbound_handshakes_per_address: 512,
            max_segment: None,
        }
    }
}

/// One node's transports: whose handshake to send, within which limits. Cheap to clone; clones
/// share limits and counters. Its futures run within a [`Runtime`](crate::Runtime) of the same
/// backend and stay on its thread.
#[derive(Clone, Debug)]
pub struct Transports {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    backend: Backend,
    own_key: PublicKey,
    own_handshake: [u8; HANDSHAKE_LEN],
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) admission: Admission,
    pub(crate) dials: Arc<Semaphore>,
    pub(crate) resolver: Resolver,
    own_keys: OwnKey,
}

impl Transports {
    /// For the owner of `key`, who offers no extensions; `backend` is the
    /// [`Runtime`](crate::Runtime)'s.
    #[must_use]
    pub fn new(backend: Backend, key: &SecretKey, limits: Limits) -> Self {
        Self::offering(backend, key, limits, Extensions::NONE)
    }

    /// [`Self::new`], for one who offers `extensions`.
    #[must_use]
    pub fn offering(
        backend: Backend,
        key: &SecretKey,
        limits: Limits,
        extensions: Extensions,
    ) -> Self {
        Self::resolving(backend, key, limits, extensions, Resolver::system())
    }

    /// Looks names up with this resolver.
    pub(crate) fn resolving(
        backend: Backend,
        key: &SecretKey,
        limits: Limits,
        extensions: Extensions,
        resolver: Resolver,
    ) -> Self {
        let mut limits = limits;
        let handshakes = descriptors::handshakes();
        limits.inbound_handshakes = limits.inbound_handshakes.min(handshakes);
        limits.inbound_handshakes_per_address =
            limits.inbound_handshakes_per_address.min(handshakes / 2);
        Self {
            shared: Arc::new(Shared {
                backend,
                own_key: key.public_key(),
                own_handshake: handshake::encode_offering(key, extensions),
                dials: Arc::new(Semaphore::new(limits.max_dials.max(1))),
                limits,
                counters: Counters::default(),
                admission: Admission::default(),
                resolver,
                own_keys: OwnKey::default(),
            }),
        }
    }

    /// Which backend moves the bytes.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.shared.backend
    }

    /// What was connected and what was turned away since the start.
    #[must_use]
    pub fn counters(&self) -> TransportCounters {
        self.shared.counters.snapshot()
    }

    /// Does the handshake over an asynchronous stream, within the limit, reading not a byte more.
    ///
    /// # Errors
    /// The peer is refused, late or gone: close the stream.
    pub async fn handshake<S>(&self, stream: &mut S) -> Result<Handshake, HandshakeFailed>
    where
        S: AsyncRead + AsyncWrite + Unpin + ?Sized,
    {
        let limit = self.shared.limits.handshake_timeout;
        let exchange = exchange::over_stream(stream, &self.shared.own_handshake);
        let exchanged = tokio::time::timeout(limit, exchange).await;
        let result = match exchanged {
            Ok(Ok(theirs)) => self.judge(&theirs),
            Ok(Err(e)) => Err(e),
            Err(_) => Err(HandshakeFailed::Timeout(limit)),
        };
        self.count(result)
    }

    /// Does the handshake over a connected stream socket of any family and gives it back.
    ///
    /// # Errors
    /// The peer is refused, late or gone; the socket is closed.
    pub async fn handshake_socket(
        &self,
        socket: OwnedFd,
    ) -> Result<(OwnedFd, Handshake), HandshakeFailed> {
        let shared = &self.shared;
        let exchanged = exchange::run(
            shared.backend,
            socket,
            shared.own_handshake,
            shared.limits.handshake_timeout,
        )
        .await;
        let result = exchanged.and_then(|(socket, theirs)| Ok((socket, self.judge(&theirs)?)));
        self.count(result)
    }

    /// Makes a peering stream of an embedder's connected socket.
    ///
    /// # Errors
    /// The handshake failed; the socket is closed.
    pub async fn adopt_socket(
        &self,
        socket: OwnedFd,
        remote: String,
        link: Link,
        direction: Direction,
    ) -> Result<Established, HandshakeFailed> {
        let (stream, peer) = self.handshake_socket(socket).await?;
        Ok(Established {
            stream,
            key: peer.public_key,
            extensions: peer.extensions,
            remote,
            link,
            direction,
            static_peer: None,
            place: Place::unlimited(),
        })
    }

    /// Makes a peering stream of any asynchronous stream: does the handshake over it, then a task
    /// of this runtime relays between it and the socket that is handed out.
    ///
    /// # Errors
    /// The handshake failed; the stream is dropped.
    pub async fn adopt_stream<S>(
        &self,
        mut stream: S,
        remote: String,
        link: Link,
        direction: Direction,
    ) -> Result<Established, HandshakeFailed>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let peer = self.handshake(&mut stream).await?;
        let (workers, relay) = RelayTask::spawn(stream, remote.clone())?;
        relay.detach();
        Ok(Established {
            stream: workers,
            key: peer.public_key,
            extensions: peer.extensions,
            remote,
            link,
            direction,
            static_peer: None,
            place: Place::unlimited(),
        })
    }

    /// A handshake over TCP has shown our own key: counts and logs it unless it turns out to be the
    /// other end of one of ours.
    pub(crate) fn saw_own_key(&self, direction: Direction, remote: SocketAddr) {
        let sighting = match self.shared.own_keys.seen(direction) {
            Verdict::Ourselves => return,
            Verdict::Wait(sighting) => Some(sighting),
            Verdict::Elsewhere => None,
        };
        let this = self.clone();
        let judge = move || {
            let own_keys = &this.shared.own_keys;
            if sighting.is_some_and(|sighting| !own_keys.is_elsewhere(sighting)) {
                return;
            }
            this.shared.counters.own_key_elsewhere.add();
            if own_keys.complain(Instant::now()) {
                tracing::warn!(
                    %remote, ?direction,
                    "a handshake with our own key that is not ours: another node uses this key, or \
                     our handshake was sent back; looked at again in an hour"
                );
            }
        };
        if sighting.is_none() {
            return judge();
        }
        tokio::task::spawn_local(async move {
            tokio::time::sleep(COUNTERPART_WITHIN).await;
            judge();
        });
    }

    fn judge(&self, theirs: &[u8; HANDSHAKE_LEN]) -> Result<Handshake, HandshakeFailed> {
        let peer = handshake::decode(theirs)?;
        if peer.public_key == self.shared.own_key {
            return Err(HandshakeFailed::OwnKey);
        }
        Ok(peer)
    }

    pub(crate) fn count<T>(
        &self,
        result: Result<T, HandshakeFailed>,
    ) -> Result<T, HandshakeFailed> {
        self.shared.counters.handshake(result.as_ref().err());
        result
    }
}

/// The address as people write it: an IPv4 peer of a dual-stack listener in IPv4 form.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
