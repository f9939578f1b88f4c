//! Names with several addresses, not all of which are peers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pinecone_wire::SecretKey;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::resolve::Resolver;
use crate::{
    Backend, BoundListener, DialError, DialSchedule, Established, Limits, Listening, PeerUri,
    Runtime, StaticPeerState, TransportOptions, Transports,
};

/// A time limit that is only reached on a failure.
const DEADLINE: Duration = Duration::from_secs(60);

/// The current addresses of the name.
type Name = Arc<Mutex<Vec<SocketAddr>>>;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn name() -> PeerUri {
    "a.name:1".parse().unwrap()
}

/// Creates a node with this key for which every name has the addresses in `name`.
fn node(n: u8, limits: Limits, name: &Name) -> Transports {
    // A resolver returns no ports, so each address has an IP of its own.
    let name = Arc::clone(name);
    let resolver = Resolver::new(move |_| Ok(name.lock().unwrap().clone()));
    resolving(n, limits, resolver)
}

fn resolving(n: u8, limits: Limits, resolver: Resolver) -> Transports {
    let options = TransportOptions {
        limits,
        ..TransportOptions::default()
    };
    Transports::resolving(Backend::Tokio, &key(n), options, resolver)
}

struct Server {
    _listening: Listening,
    established: mpsc::Receiver<Established>,
    transports: Transports,
}

fn serve(n: u8, address: SocketAddr) -> Server {
    let transports = node(n, Limits::default(), &Name::default());
    serve_with(transports, address)
}

fn serve_with(transports: Transports, address: SocketAddr) -> Server {
    let (sender, established) = mpsc::channel(16);
    let uri = Arc::new(address.to_string().parse().unwrap());
    let bound = BoundListener::bind_one(&uri, address).unwrap();
    Server {
        _listening: transports.listen(bound, sender).unwrap(),
        established,
        transports,
    }
}

/// Returns addresses of loopback with a port that is free on all of them.
fn addresses<const N: usize>(first: u8) -> [SocketAddr; N] {
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    std::array::from_fn(|i| SocketAddr::from((Ipv4Addr::new(127, 77, first, 1 + i as u8), port)))
}

fn to(address: SocketAddr) -> PeerUri {
    format!("a.name:{}", address.port()).parse().unwrap()
}

fn run<F: Future<Output = ()>>(test: F) {
    let runtime = Runtime::new(Backend::Tokio).unwrap();
    runtime.block_on(async { timeout(DEADLINE, test).await.unwrap() });
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Accepts connections and sends nothing.
async fn silent(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::task::spawn_local(async move {
        let mut streams = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            streams.push(stream);
        }
    });
}

/// Accepts connections and sends something that is not a handshake.
async fn stranger(address: SocketAddr) {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(&[b'x'; 104]).await;
        }
    });
}

#[test]
fn a_failed_handshake_a_silent_one_and_ourselves_lead_to_the_next_address() {
    run(async {
        let [own, other, mute, good] = addresses(1);
        let found = Name::new(Mutex::new(vec![own, other, mute, good]));
        let limits = Limits {
            handshake_timeout: Duration::from_millis(300),
            ..Limits::default()
        };
        let ours = serve_with(node(2, limits, &found), own);
        stranger(other).await;
        silent(mute).await;
        let mut server = serve(1, good);
        let peer = ours.transports.dial(&to(good)).await.unwrap();
        assert_eq!(peer.key, key(1).public_key());
        assert!(
            peer.remote.ends_with(&format!("({good})")),
            "{}",
            peer.remote
        );
        server.established.recv().await.unwrap();
        let counters = ours.transports.counters();
        assert_eq!((counters.dialled, counters.dial_failed), (1, 0));
        assert_eq!((counters.refused_version, counters.timed_out), (1, 1));
        // Both ends of the connection to this node itself.
        assert_eq!(counters.refused_own_key, 2);
    });
}

#[test]
fn a_failure_to_connect_is_told_rather_than_that_one_address_is_ourselves() {
    run(async {
        let [own, closed] = addresses(2);
        let found = Name::default();
        let ours = serve_with(node(2, Limits::default(), &found), own);
        for order in [[own, closed], [closed, own]] {
            *found.lock().unwrap() = order.to_vec();
            let error = ours.transports.dial(&to(own)).await.unwrap_err();
            assert!(
                matches!(error, DialError::Connect { address, .. } if address == closed),
                "{error}"
            );
        }
        *found.lock().unwrap() = vec![own];
        assert!(
            ours.transports
                .dial(&to(own))
                .await
                .unwrap_err()
                .is_own_key()
        );
    });
}

#[test]
fn a_name_that_was_ourselves_is_dialled_again_and_may_be_a_peer() {
    run(async {
        let [own, good] = addresses(3);
        let found = Name::new(Mutex::new(vec![own]));
        let ours = serve_with(node(2, Limits::default(), &found), own);
        let schedule = DialSchedule {
            longest_wait: Duration::from_millis(5),
            ..DialSchedule::default()
        };
        let (sender, mut established) = mpsc::channel(4);
        let statics = (ours.transports).keep_connected(vec![to(own)], schedule, sender);
        until(|| statics.status()[0].failures >= 3).await;
        let status = statics.status().remove(0);
        assert!(status.last_error.unwrap().contains("own key"));
        let _server = serve(1, good);
        found.lock().unwrap().push(good);
        let peer = established.recv().await.unwrap();
        assert_eq!(peer.key, key(1).public_key());
        assert!(matches!(
            statics.status()[0].state,
            StaticPeerState::Connected { .. }
        ));
    });
}

#[test]
fn the_limit_to_connect_does_not_include_the_lookup() {
    run(async {
        let [good] = addresses(4);
        let resolver = Resolver::new(move |_| {
            std::thread::sleep(Duration::from_millis(600));
            Ok(vec![good])
        });
        let limits = Limits {
            connect_timeout: Duration::from_millis(500),
            ..Limits::default()
        };
        let ours = resolving(2, limits, resolver);
        let _server = serve(1, good);
        ours.dial(&to(good)).await.unwrap();
    });
}

#[test]
fn each_address_has_the_whole_limit_to_connect() {
    run(async {
        // Listeners with full queues drop packets.
        let [first, second, third, good] = addresses(5);
        let full = [first, second, third].map(|address| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.unwrap();
            socket.bind(&address.into()).unwrap();
            socket.listen(0).unwrap();
            let queued = std::net::TcpStream::connect(address).unwrap();
            (socket, queued)
        });
        let found = Name::new(Mutex::new(vec![first, second, third, good]));
        let limits = Limits {
            // A limit for all addresses together would expire before the fourth is tried.
            connect_timeout: Duration::from_millis(600),
            ..Limits::default()
        };
        let ours = node(2, limits, &found);
        let _server = serve(1, good);
        ours.dial(&to(good)).await.unwrap();
        *found.lock().unwrap() = vec![first];
        let error = ours.dial(&to(first)).await.unwrap_err();
        assert!(matches!(error, DialError::Timeout { .. }), "{error}");
        drop(full);
    });
}

#[test]
fn a_lookup_without_end_is_given_up() {
    run(async {
        let resolver = Resolver::new(|_| {
            std::thread::sleep(Duration::from_secs(2));
            Ok(Vec::new())
        });
        let limits = Limits {
            lookup_timeout: Duration::from_millis(50),
            ..Limits::default()
        };
        let ours = resolving(2, limits, resolver);
        let error = ours.dial(&name()).await.unwrap_err();
        assert!(matches!(error, DialError::LookupTimeout(_)), "{error}");
        let counters = ours.counters();
        assert_eq!((counters.dialled, counters.dial_failed), (1, 1));
    });
}
