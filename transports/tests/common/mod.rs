//! Helpers for the tests of this crate.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pinecone_transports::{
    Backend, BoundListener, Established, Limits, ListenError, Listening, PeerUri, Runtime,
    TransportOptions, Transports,
};
use pinecone_wire::{Extensions, SecretKey};
use tokio::sync::mpsc;

/// A time limit that is only reached on a failure.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// The way in which handshakes over TCP are made.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    pub backend: Backend,
    /// Set if TCP goes through a relay thread, as all other schemes do.
    pub relay_tcp: bool,
}

/// Runs a test with each backend that this machine has, and with relay threads.
pub fn by_each_means<F: Future>(test: impl Fn(Means) -> F) {
    for (backend, relay_tcp) in [
        (Backend::Tokio, false),
        (Backend::TokioUring, false),
        (Backend::Tokio, true),
    ] {
        if backend == Backend::TokioUring && Backend::detect() != backend {
            pinecone_testing::skip(pinecone_testing::Need::IoUring, "tokio-uring is not tried");
            continue;
        }
        let means = Means { backend, relay_tcp };
        let runtime = Runtime::new(backend).unwrap();
        assert_eq!(runtime.backend(), backend);
        runtime.block_on(async {
            tokio::time::timeout(DEADLINE, test(means))
                .await
                .unwrap_or_else(|_| panic!("test hangs with {means:?}"));
        });
    }
}

pub fn transports(means: Means, key: &SecretKey, limits: Limits) -> Transports {
    offering(means, key, limits, Extensions::NONE)
}

pub fn offering(
    means: Means,
    key: &SecretKey,
    limits: Limits,
    extensions: Extensions,
) -> Transports {
    let options = TransportOptions {
        limits,
        extensions,
        relay_tcp: means.relay_tcp,
        ..TransportOptions::default()
    };
    Transports::with_options(means.backend, key, options)
}

/// Waits until `condition` holds.
pub async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A node that listens on loopback.
pub struct Server {
    pub transports: Transports,
    pub listening: Listening,
    pub established: mpsc::Receiver<Established>,
}

impl Server {
    pub fn start(means: Means, limits: Limits) -> Self {
        Self::listen(transports(means, &key(1), limits), "127.0.0.1:0")
    }

    pub fn listen(transports: Transports, address: &str) -> Self {
        let (sender, established) = mpsc::channel(16);
        let bound = bind(address).unwrap().remove(0);
        Self {
            listening: transports.listen(bound, sender).unwrap(),
            transports,
            established,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listening.local_addr()
    }

    pub fn peer_uri(&self) -> PeerUri {
        self.address().to_string().parse().unwrap()
    }
}

/// Binds an address in text form.
pub fn bind(address: &str) -> Result<Vec<BoundListener>, ListenError> {
    BoundListener::bind(&Arc::new(address.parse()?))
}

/// Returns an address on loopback where nothing listens.
pub fn refused_address() -> PeerUri {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().to_string().parse().unwrap()
}

/// Returns addresses of loopback that drop packets: listeners with full queues.
pub struct BlackHoles(Vec<(socket2::Socket, std::net::TcpStream)>);

impl BlackHoles {
    pub fn new(n: usize) -> Self {
        let hole = |_| {
            let stream = socket2::Type::STREAM;
            let socket = socket2::Socket::new(socket2::Domain::IPV4, stream, None).unwrap();
            let any = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
            socket.bind(&any.into()).unwrap();
            socket.listen(0).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            let queued = std::net::TcpStream::connect(address).unwrap();
            (socket, queued)
        };
        Self((0..n).map(hole).collect())
    }

    pub fn addresses(&self) -> Vec<PeerUri> {
        let addresses = self.0.iter().map(|(_, queued)| queued.peer_addr().unwrap());
        addresses.map(|a| a.to_string().parse().unwrap()).collect()
    }
}

pub(crate) fn limits() -> Limits {
    Limits {
        handshake_timeout: DEADLINE,
        ..Limits::default()
    }
}

/// Reads until the other side closes; a reset is a close.
pub(crate) async fn closed(mut stream: tokio::net::TcpStream) -> usize {
    let mut bytes = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await;
    bytes.len()
}
