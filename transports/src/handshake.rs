//! The transports of a node, and the peering handshake over any stream.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use pinecone_wire::handshake::{Extensions, Handshake};
use pinecone_wire::{HANDSHAKE_LEN, PublicKey, SecretKey, handshake};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::admission::{Admission, Place};
use crate::counters::Counters;
use crate::direction::Direction;
use crate::established::{Established, Link};
use crate::limits::Limits;
use crate::own_key::{COUNTERPART_WITHIN, OwnKey, Verdict};
use crate::resolve::Resolver;
use crate::stream::Relays;
use crate::tls::{Tls, TlsOptions};
use crate::websocket::{AcceptOptions, TrustedProxies, UpgradePath};
use crate::{
    Backend, HandshakeFailed, RelayPool, Scheme, TransportCounters, WrongKey, descriptors, exchange,
};

/// The transports of a node: its handshake, limits and counters, which clones share. Cheap to clone.
///
/// The futures run within a [`Runtime`](crate::Runtime) of the same backend and stay on its thread.
#[derive(Clone, Debug)]
pub struct Transports {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    backend: Backend,
    key: SecretKey,
    own_key: PublicKey,
    own_handshake: [u8; HANDSHAKE_LEN],
    pub(crate) limits: Limits,
    pub(crate) counters: Counters,
    pub(crate) admission: Arc<Admission>,
    pub(crate) dials: Arc<Semaphore>,
    pub(crate) resolver: Resolver,
    own_keys: OwnKey,
    pub(crate) relays: Relays,
    relay_tcp: bool,
    tls: OnceLock<Tls>,
    /// The upgrades to WebSockets that listeners allow.
    pub(crate) upgrades: AcceptOptions,
}

/// The options of a node's transports.
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// Limits on times and numbers.
    pub limits: Limits,
    /// The extensions of the protocol that the node offers. Default: none.
    pub extensions: Extensions,
    /// The threads that relay the node's streams, which other nodes may share. Default: one thread.
    pub relays: RelayPool,
    /// Set to relay plain TCP as well, for tests and to measure relays. Default: not set.
    #[doc(hidden)]
    pub relay_tcp: bool,
    /// The certificates and trusted authorities, for the same key. Default: no files, which suffices for `tls://` between
    /// nodes.
    pub tls: Option<Tls>,
    /// The paths on which listeners upgrade connections to WebSockets. Default: `/` and `/ws`.
    pub upgrade_paths: Vec<UpgradePath>,
    /// The reverse proxies in front of WebSocket listeners that are believed when they name a client's address.
    /// Default: none.
    pub trusted_proxies: TrustedProxies,
}

impl Default for TransportOptions {
    fn default() -> Self {
        let AcceptOptions { paths, trusted, .. } = AcceptOptions::default();
        Self {
            limits: Limits::default(),
            extensions: Extensions::default(),
            relays: RelayPool::default(),
            relay_tcp: false,
            tls: None,
            upgrade_paths: paths,
            trusted_proxies: trusted,
        }
    }
}

impl Transports {
    /// Creates the transports of the node with `key`, which offers no extensions. `backend` is that of
    /// the [`Runtime`](crate::Runtime).
    #[must_use]
    pub fn new(backend: Backend, key: &SecretKey, limits: Limits) -> Self {
        let options = TransportOptions {
            limits,
            ..TransportOptions::default()
        };
        Self::with_options(backend, key, options)
    }

    /// Creates the transports of a node with options.
    #[must_use]
    pub fn with_options(backend: Backend, key: &SecretKey, options: TransportOptions) -> Self {
        Self::resolving(backend, key, options, Resolver::system())
    }

    /// Creates transports that look names up with `resolver`.
    pub(crate) fn resolving(
        backend: Backend,
        key: &SecretKey,
        options: TransportOptions,
        resolver: Resolver,
    ) -> Self {
        let mut limits = options.limits;
        let handshakes = descriptors::handshakes();
        limits.inbound_handshakes = limits.inbound_handshakes.min(handshakes);
        limits.inbound_handshakes_per_address =
            limits.inbound_handshakes_per_address.min(handshakes / 2);
        let upgrades = AcceptOptions {
            paths: options.upgrade_paths,
            trusted: options.trusted_proxies,
            time_limit: limits.handshake_timeout,
        };
        Self {
            shared: Arc::new(Shared {
                backend,
                key: key.clone(),
                own_key: key.public_key(),
                own_handshake: handshake::encode_offering(key, options.extensions),
                dials: Arc::new(Semaphore::new(limits.max_dials.max(1))),
                admission: Arc::new(Admission::new(&limits)),
                limits,
                counters: Counters::default(),
                resolver,
                own_keys: OwnKey::default(),
                relays: Relays::new(options.relays),
                relay_tcp: options.relay_tcp,
                tls: options.tls.map(OnceLock::from).unwrap_or_default(),
                upgrades,
            }),
        }
    }

    /// Ends all relays of the node, and waits until they have ended. None is started afterwards.
    pub async fn end_relays(&self) {
        self.shared.relays.end().await;
    }

    /// Reports whether connections of a scheme go through a relay thread.
    pub(crate) fn is_relayed(&self, scheme: Scheme) -> bool {
        scheme != Scheme::Tcp || self.shared.relay_tcp
    }

    /// Returns the backend that moves the bytes of handshakes.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.shared.backend
    }

    /// Returns the number of connections that were made and refused since the start.
    #[must_use]
    pub fn counters(&self) -> TransportCounters {
        self.shared.counters.snapshot()
    }

    /// Performs the handshake over an asynchronous stream, within the time limit. Reads no byte beyond
    /// it.
    ///
    /// # Errors
    /// The peer is refused, late or gone. Close the stream.
    pub async fn handshake<S>(&self, stream: &mut S) -> Result<Handshake, HandshakeFailed>
    where
        S: AsyncRead + AsyncWrite + Unpin + ?Sized,
    {
        let limit = self.shared.limits.handshake_timeout;
        let exchanged = tokio::time::timeout(limit, self.exchange(stream, None)).await;
        self.count(exchanged.unwrap_or(Err(HandshakeFailed::Timeout(limit))))
    }

    /// Exchanges handshakes over an asynchronous stream, without a time limit. The result is not counted.
    pub(crate) async fn exchange<S>(
        &self,
        stream: &mut S,
        expected: Option<PublicKey>,
    ) -> Result<Handshake, HandshakeFailed>
    where
        S: AsyncRead + AsyncWrite + Unpin + ?Sized,
    {
        let theirs = exchange::over_stream(stream, &self.shared.own_handshake).await?;
        self.judge(&theirs, expected)
    }

    /// Performs the handshake over a connected stream socket of any family and returns the socket.
    ///
    /// # Errors
    /// The peer is refused, late or gone; the socket is closed.
    pub async fn handshake_socket(
        &self,
        socket: OwnedFd,
    ) -> Result<(OwnedFd, Handshake), HandshakeFailed> {
        self.shake_socket(socket, None).await
    }

    /// Performs the handshake over a socket with a peer that must have the expected key, if there is one.
    pub(crate) async fn shake_socket(
        &self,
        socket: OwnedFd,
        expected: Option<PublicKey>,
    ) -> Result<(OwnedFd, Handshake), HandshakeFailed> {
        let shared = &self.shared;
        let exchanged = exchange::run(
            shared.backend,
            socket,
            shared.own_handshake,
            shared.limits.handshake_timeout,
        )
        .await;
        let judged =
            exchanged.and_then(|(socket, theirs)| Ok((socket, self.judge(&theirs, expected)?)));
        self.count(judged)
    }

    /// Makes a peering stream out of a connected socket, after the handshake.
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
            scheme: None,
            link,
            direction,
            priority: 0,
            static_peer: None,
            place: Place::unlimited(),
            relay: None,
        })
    }

    /// Handles a handshake over TCP with this node's own key. Counts and logs it unless this node is at both ends of
    /// the stream.
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
            if own_keys.log_is_due(Instant::now()) {
                tracing::warn!(
                    %remote, ?direction,
                    "another node has this node's key, or this node's handshake was sent back; not logged \
                     again for an hour"
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

    fn judge(
        &self,
        theirs: &[u8; HANDSHAKE_LEN],
        expected: Option<PublicKey>,
    ) -> Result<Handshake, HandshakeFailed> {
        let peer = handshake::decode(theirs)?;
        let found = peer.public_key;
        if found == self.shared.own_key {
            return Err(HandshakeFailed::OwnKey);
        }
        match expected {
            Some(expected) if expected != found => {
                let wrong = WrongKey { expected, found };
                Err(HandshakeFailed::Key(Box::new(wrong)))
            }
            _ => Ok(peer),
        }
    }

    pub(crate) fn count<T>(
        &self,
        result: Result<T, HandshakeFailed>,
    ) -> Result<T, HandshakeFailed> {
        self.shared.counters.handshake(result.as_ref().err());
        result
    }
}

impl Shared {
    /// Returns the certificates and trusted authorities. If the options have none, makes them without files at the first
    /// call, so that nodes without TLS need no memory for them.
    pub(crate) fn tls(&self) -> io::Result<&Tls> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let tls = Tls::new(&self.key, TlsOptions::default()).map_err(io::Error::other)?;
        Ok(self.tls.get_or_init(|| tls))
    }

    /// Reports whether listeners have a certificate that clients without node keys accept.
    pub(crate) fn has_certificate_files(&self) -> bool {
        (self.tls.get()).is_some_and(Tls::has_certificate_files)
    }
}

/// Returns the address in its usual form: an IPv4 peer of a dual-stack listener as an IPv4 address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
