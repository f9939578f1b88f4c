//! Helpers of all tests: nodes with known keys, waiting for conditions, and a peer that is a bare socket.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use pinecone::{
    Builder, CloseReason, DialSchedule, Event, Events, Node, NodeOptions, Peer, PublicKey,
    SecretKey,
};
use pinecone_wire::announcement::{push_frame, root_payload, sign};
use pinecone_wire::{Extensions, HANDSHAKE_LEN, Split, handshake, split};

/// A time limit that is only reached on a failure.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);
/// The interval at which conditions are checked.
const LOOK: Duration = Duration::from_millis(20);

/// Returns the key whose seed is `n` repeated. Ordered by public key: 08 (13..), 10 (5c..), 02 (81..), 01 (8a..), 0f
/// (d9..), 09 (fd..).
pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

pub(crate) fn builder(n: u8) -> Builder {
    Node::builder().secret_key(key(n))
}

/// The options of a node that dials static peers again quickly.
pub(crate) fn quick_options(n: u8) -> NodeOptions {
    NodeOptions {
        secret_key: Some(key(n)),
        dial_schedule: DialSchedule {
            longest_wait: Duration::from_millis(100),
            good_after: Duration::ZERO,
            spread: Duration::from_millis(100),
            ..DialSchedule::default()
        },
        ..NodeOptions::default()
    }
}

/// A builder for a node that dials static peers again quickly.
pub(crate) fn quick(n: u8) -> Builder {
    Builder::from(quick_options(n))
}

pub(crate) async fn node(n: u8) -> Node {
    builder(n).start().await.unwrap()
}

pub(crate) async fn listening(n: u8) -> (Node, SocketAddr) {
    let node = builder(n).listen("127.0.0.1:0").start().await.unwrap();
    let address = node.local_addrs()[0];
    (node, address)
}

/// Checks `condition` until it returns something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Polls a future once, and checks that it is pending.
pub(crate) async fn begin<F: Future>(future: Pin<&mut F>) {
    assert!(poll_once(future).await.is_pending());
}

/// Pings until an answer arrives, which happens once routes exist. Returns the number of hops.
pub(crate) async fn reaches(from: &Node, to: &Node) -> u16 {
    reaches_key(from, &to.public_key()).await
}

pub(crate) async fn reaches_key(from: &Node, to: &PublicKey) -> u16 {
    let what = format!("{from:?} pings {to}");
    until(&what, || async {
        let reply = from.ping(to, 0, Duration::from_millis(500)).await;
        reply.ok().map(|reply| reply.hops)
    })
    .await
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    (tokio::time::timeout(LIMIT, future).await).unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// Waits for the next event for which `wanted` returns something.
pub(crate) async fn event<T>(
    what: &str,
    events: &mut Events,
    mut wanted: impl FnMut(&Event) -> Option<T>,
) -> T {
    let search = async {
        loop {
            let event = events.next().await.expect("events go on");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    within(what, search).await
}

/// Waits for the next peering to end. Returns its key and the reason.
pub(crate) async fn removed(events: &mut Events) -> (PublicKey, CloseReason) {
    event("a peering goes", events, |event| match event {
        Event::PeerRemoved { key, reason, .. } => Some((*key, reason.clone())),
        _ => None,
    })
    .await
}

pub(crate) async fn peer(node: &Node, key: PublicKey) -> Option<Peer> {
    let peers = node.peers().await.unwrap();
    peers.into_iter().find(|peer| peer.key == key)
}

pub(crate) async fn counter(node: &Node, name: &str) -> u64 {
    let status = node.status().await.unwrap();
    let found = status.counters.iter().find(|c| c.name == name);
    found.unwrap_or_else(|| panic!("no counter {name}")).value
}

/// A socket that acts as a peer with a known key.
pub(crate) struct BarePeer {
    pub(crate) stream: TcpStream,
    pub(crate) key: SecretKey,
    buffer: Vec<u8>,
}

impl BarePeer {
    /// Connects and shakes hands like a deployed node.
    pub(crate) fn connect(address: SocketAddr, n: u8) -> Self {
        Self::connect_offering(address, n, Extensions::NONE).0
    }

    /// Connects and shakes hands, and returns the extensions that the node offers.
    pub(crate) fn connect_offering(
        address: SocketAddr,
        n: u8,
        extensions: Extensions,
    ) -> (Self, Extensions) {
        let mut peer = Self::silent(address, n);
        peer.send(&handshake::encode_offering(&key(n), extensions));
        let mut theirs = [0; HANDSHAKE_LEN];
        peer.stream.read_exact(&mut theirs).unwrap();
        let offered = handshake::decode(&theirs).unwrap().extensions;
        (peer, offered)
    }

    /// Connects without a handshake.
    pub(crate) fn silent(address: SocketAddr, n: u8) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self {
            stream,
            key: key(n),
            buffer: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Announces itself as a root to a node that has it on `port`.
    pub(crate) fn announce(&mut self, port: u64) {
        let own = self.key.public_key();
        let payload = root_payload(&own, 1);
        let signature = sign(&payload, &self.key);
        let mut frame = Vec::new();
        push_frame(&mut frame, &payload, port, &own, &signature).unwrap();
        self.send(&frame);
    }

    /// Reads the next whole frame. Returns `None` at the end of the stream.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Split::Frame(header) = split(&self.buffer).unwrap() {
                return Some(self.buffer.drain(..usize::from(header.len)).collect());
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("the node neither speaks nor closes: {e}"),
            }
        }
    }

    /// Reads until the node closes the stream.
    pub(crate) fn closed(mut self) {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(e) => panic!("the node does not close: {e}"),
            }
        }
    }
}

/// A payload whose bytes depend on their place and on `salt`.
pub(crate) fn payload(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8 ^ salt).collect()
}

pub(crate) fn assert_sorted_ports(peers: &[Peer])
where
    Peer: Debug,
{
    assert!(peers.windows(2).all(|w| w[0].port < w[1].port), "{peers:?}");
}
