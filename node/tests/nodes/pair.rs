//! Two nodes.

use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use pinecone::{
    Builder, CloseReason, ConnectError, Coordinates, Direction, DisconnectError, Event, LinkType,
    Node, NodeOptions, PortId, StreamOptions, pipe,
};

use crate::harness::{
    LIMIT, builder, counter, event, key, listening, node, payload, peer, reaches, removed, until,
    within,
};

async fn exchange(a: &Node, b: &Node) {
    assert_eq!(reaches(a, b).await, 0);
    assert_eq!(reaches(b, a).await, 0);
    for (from, to) in [(a, b), (b, a)] {
        let sent = payload(1200, 1);
        from.send_to(&sent, &to.public_key()).unwrap();
        let (received, source) = within("a payload", to.recv_from()).await.unwrap();
        assert_eq!(source, from.public_key());
        assert!(received == sent[..]);
    }
}

/// Waits until `node` has a descending node. Bootstraps are sent once a second, so routes may be set up after the first
/// pings.
async fn has_descending(node: &Node, below: &Node) {
    until("a descending node", || async {
        let descending = node.status().await.unwrap().descending;
        (descending == Some(below.public_key())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn joined_by_a_pipe() {
    let (a, b) = (node(8).await, node(15).await);
    let (port_a, port_b) = pipe(&a, &b).await.unwrap();
    assert_eq!((port_a, port_b), (PortId(1), PortId(1)));
    exchange(&a, &b).await;
    let [of_a] = &a.peers().await.unwrap()[..] else {
        panic!("one peer")
    };
    assert_eq!(of_a.key, b.public_key());
    assert_eq!(of_a.link, LinkType::Pipe);
    assert_eq!(of_a.direction, Direction::Outbound);
    assert_eq!(of_a.coordinates, Some(Coordinates::default()));
    assert_eq!(of_a.root, Some(b.public_key()));
    let [of_b] = &b.peers().await.unwrap()[..] else {
        panic!("one peer")
    };
    assert_eq!(of_b.direction, Direction::Inbound);
    let status = a.status().await.unwrap();
    assert_eq!(status.public_key, a.public_key());
    assert_eq!(status.root, b.public_key());
    assert_eq!(status.parent, Some(b.public_key()));
    assert_eq!(status.coordinates, vec![1].into());
    has_descending(&b, &a).await;
    let status = b.status().await.unwrap();
    assert_eq!((status.parent, status.root), (None, b.public_key()));
    assert_eq!(status.routes, 1);
    assert_eq!(status.workers.len(), 1);
    assert!(!status.engine.is_empty() && !status.engine_reason.is_empty());
    a.close().await;
    b.close().await;
}

#[tokio::test]
async fn over_tcp() {
    let (a, (b, address)) = (node(8).await, listening(15).await);
    let port = a.connect(&address.to_string()).await.unwrap();
    exchange(&a, &b).await;
    let [of_a] = &a.peers().await.unwrap()[..] else {
        panic!("one peer")
    };
    assert_eq!((of_a.port, of_a.link), (port, LinkType::Remote));
    assert_eq!(of_a.remote, address.to_string());
    let [of_b] = &b.peers().await.unwrap()[..] else {
        panic!("one peer")
    };
    assert_eq!(of_b.direction, Direction::Inbound);
    assert!(of_b.remote.starts_with("127.0.0.1:"), "{}", of_b.remote);
    // Each has received what the other has sent, once the counters have caught up.
    until("traffic is counted the same on both sides", || async {
        let (of_a, of_b) = (
            peer(&a, b.public_key()).await?,
            peer(&b, a.public_key()).await?,
        );
        let (sent, received) = (of_a.traffic, of_b.traffic);
        let same = sent.tx_traffic_frames == received.rx_traffic_frames
            && sent.tx_traffic_bytes == received.rx_traffic_bytes
            && sent.tx_protocol_frames == received.rx_protocol_frames
            && sent.tx_protocol_bytes == received.rx_protocol_bytes;
        (same && sent.tx_traffic_frames >= 3 && sent.tx_protocol_frames >= 2).then_some(())
    })
    .await;
    let listeners = b.status().await.unwrap().listeners;
    assert_eq!(listeners[0].to_string(), address.to_string());
    a.close().await;
    b.close().await;
}

#[tokio::test]
async fn over_a_socket_pair_and_a_relayed_stream() {
    let (a, b) = (node(8).await, node(15).await);
    let (end_a, end_b) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = a.connect_stream(OwnedFd::from(end_a), StreamOptions::default());
    end_b.set_nonblocking(true).unwrap();
    let end_b = tokio::net::UnixStream::from_std(end_b).unwrap();
    let options = StreamOptions {
        remote: "somewhere".to_owned(),
        direction: Direction::Inbound,
        ..StreamOptions::default()
    };
    let relayed = b.connect_relayed(end_b, options);
    let (of_a, of_b) = tokio::join!(socket, relayed);
    of_a.unwrap();
    of_b.unwrap();
    exchange(&a, &b).await;
    assert_eq!(b.peers().await.unwrap()[0].remote, "somewhere");
    // When one node ends, the relay ends the peering of the other.
    let mut events = b.events();
    a.close().await;
    assert_eq!(removed(&mut events).await.0, a.public_key());
    b.close().await;
}

#[tokio::test]
async fn events_come_in_order() {
    let (a, b) = (node(8).await, node(15).await);
    let (mut of_a, mut of_b) = (a.events(), b.events());
    pipe(&a, &b).await.unwrap();
    reaches(&a, &b).await;
    reaches(&b, &a).await;
    has_descending(&b, &a).await;
    let port = a.peers().await.unwrap()[0].port;
    a.disconnect(port).await.unwrap();
    let is_last = |event: &Event| matches!(event, Event::PeerRemoved { .. });
    for (events, node, other) in [(&mut of_a, &a, &b), (&mut of_b, &b, &a)] {
        let mut seen = Vec::new();
        event("a peering goes", events, |event| {
            seen.push(event.clone());
            is_last(event).then_some(())
        })
        .await;
        let own = node.public_key();
        let key = other.public_key();
        let at = |wanted: Event| {
            let at = seen.iter().position(|event| *event == wanted);
            at.unwrap_or_else(|| panic!("no {wanted:?} in {seen:?}"))
        };
        let added = Event::PeerAdded {
            port,
            key,
            link: LinkType::Pipe,
            remote: format!("pipe to {}", key.short()),
        };
        assert_eq!(at(added), 0);
        if own < key {
            let parent = at(Event::ParentChanged { parent: Some(key) });
            let root = at(Event::RootChanged {
                root: key,
                sequence: 1,
            });
            let coordinates = at(Event::CoordinatesChanged {
                coordinates: vec![1].into(),
            });
            assert!(0 < parent && 0 < root && 0 < coordinates);
        } else {
            let route = at(Event::RouteAdded { key });
            let descending = at(Event::DescendingChanged {
                descending: Some(key),
            });
            assert!(0 < route && 0 < descending);
        }
        let broadcast = seen.iter().find_map(|event| match event {
            Event::BroadcastReceived { key, sequence } => Some((*key, *sequence)),
            _ => None,
        });
        let (from, sequence) = broadcast.expect("a wakeup broadcast");
        assert_eq!(from, key);
        assert!(sequence > 1_700_000_000_000, "Unix milliseconds");
        let Some(Event::PeerRemoved { reason, .. }) = seen.last() else {
            panic!()
        };
        let expected = match own < key {
            true => CloseReason::Requested("closed on request".into()),
            false => CloseReason::PeerClosed,
        };
        assert_eq!(*reason, expected);
    }
    a.close().await;
    b.close().await;
    let ended = async { while of_a.next().await.is_some() {} };
    within("events end with their node", ended).await;
    assert!(a.events().next().await.is_none());
}

#[tokio::test]
async fn disconnecting() {
    let (a, b) = (node(8).await, node(15).await);
    let (port, _) = pipe(&a, &b).await.unwrap();
    reaches(&a, &b).await;
    let mut events = b.events();
    let none = DisconnectError::NoSuchPeering(PortId(77));
    assert_eq!(a.disconnect(PortId(77)).await, Err(none));
    a.disconnect(port).await.unwrap();
    assert!(a.peers().await.unwrap().is_empty());
    let none = DisconnectError::NoSuchPeering(port);
    assert_eq!(a.disconnect(port).await, Err(none));
    assert_eq!(removed(&mut events).await.0, a.public_key());
    assert!(b.peers().await.unwrap().is_empty());
    let status = a.status().await.unwrap();
    assert_eq!((status.root, status.parent), (a.public_key(), None));
    // The number is free again.
    assert_eq!(pipe(&a, &b).await.unwrap(), (PortId(1), PortId(1)));
    reaches(&a, &b).await;
}

#[tokio::test]
async fn wakeup_broadcasts_can_be_off() {
    let quiet = (builder(8).wakeup_broadcasts(false).start().await).unwrap();
    let b = node(15).await;
    let mut events = quiet.events();
    pipe(&quiet, &b).await.unwrap();
    event("the other's broadcast", &mut events, |event| {
        matches!(event, Event::BroadcastReceived { .. }).then_some(())
    })
    .await;
    // The quiet node would have sent its broadcast together with its bootstrap.
    has_descending(&b, &quiet).await;
    assert_eq!(counter(&quiet, "broadcasts_sent").await, 0);
    assert_eq!(counter(&b, "broadcasts").await, 0);
    assert!(counter(&b, "broadcasts_sent").await >= 1);
}

#[tokio::test]
async fn threads_are_pinned_to_the_cores_asked_for() {
    let pinned = builder(8).control_core(0).runtime_core(0).worker_cores([0]);
    let pinned = pinned.start().await.unwrap();
    assert_eq!(pinned.status().await.unwrap().workers[0].core, Some(0));
    for name in ["pinecone-control", "pinecone-runtime"] {
        // Other tests have threads of the same names that are not pinned.
        let of_name = std::fs::read_dir("/proc/self/task").unwrap().any(|task| {
            let task = task.unwrap().path();
            let read = |file| std::fs::read_to_string(task.join(file)).unwrap_or_default();
            let is_there = |line: &str| {
                let cores = line.strip_prefix("Cpus_allowed_list:");
                cores.is_some_and(|cores| cores.trim() == "0")
            };
            // The kernel keeps fifteen characters of a name.
            read("comm").trim() == &name[..15] && read("status").lines().any(is_there)
        });
        assert!(of_name, "no thread {name} on core 0 alone");
    }
}

#[tokio::test]
async fn our_own_key_is_refused() {
    let (a, address) = listening(8).await;
    let error = a.connect(&address.to_string()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dial { .. }), "{error:?}");
    assert!(error.to_string().contains("this node's own key"), "{error}");
    let same_key = node(8).await;
    let error = pipe(&a, &same_key).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake(_)), "{error:?}");
    assert!(a.peers().await.unwrap().is_empty());
}

#[tokio::test]
async fn bounds_can_be_set() {
    let options = NodeOptions {
        secret_key: Some(key(8)),
        control: pinecone::ControlConfig {
            max_peers: 1,
            ..pinecone::ControlConfig::default()
        },
        ..NodeOptions::default()
    };
    let full = Builder::from(options).start().await.unwrap();
    let (first, second) = (node(2).await, node(1).await);
    pipe(&full, &first).await.unwrap();
    let error = pipe(&full, &second).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused(_)), "{error:?}");
}

#[tokio::test]
async fn errors_name_what_is_wrong() {
    let (a, address) = listening(8).await;
    let error = node_error(&address.to_string()).await;
    assert!(
        error.contains(&address.to_string()) && error.contains("in use"),
        "{error}"
    );
    let error = node_error("nowhere.invalid:1").await;
    assert!(error.contains("nowhere.invalid"), "{error}");
    let error = node_error("no port").await;
    assert!(error.contains("no port"), "{error}");
    let unreachable = a.connect("127.0.0.1:1").await.unwrap_err().to_string();
    assert!(unreachable.contains("127.0.0.1:1"), "{unreachable}");
    let unresolved = a.connect("nowhere.invalid:1").await.unwrap_err();
    assert!(unresolved.to_string().contains("nowhere.invalid"));
    let malformed = a.connect("nowhere").await.unwrap_err();
    assert!(matches!(malformed, ConnectError::Address(_)));
    let peers = Node::builder().connect("a:1,ftp://b").start().await;
    assert!(peers.unwrap_err().to_string().contains("ftp"));
    let cores = Node::builder().control_core(100_000).start().await;
    assert!(cores.unwrap_err().to_string().contains("100000"));
    let cores = Node::builder().runtime_core(1023).start().await;
    assert!(cores.unwrap_err().to_string().contains("1023"));
    for error in [error, unreachable] {
        assert!(!error.contains('\n'), "{error}");
    }
}

async fn node_error(listen: &str) -> String {
    let started = Node::builder().listen(listen).start().await;
    started.unwrap_err().to_string()
}

/// An executor of a dozen lines runs the futures, which do not depend on Tokio.
#[test]
fn any_executor_will_do() {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => std::thread::park(),
            }
        }
    }
    block_on(async {
        let (a, (b, address)) = (node(8).await, listening(15).await);
        let mut events = b.events();
        a.connect(&address.to_string()).await.unwrap();
        events.next().await.unwrap();
        let started = std::time::Instant::now();
        while (a.ping(&b.public_key(), 0, Duration::from_millis(200)).await).is_err() {
            assert!(started.elapsed() < LIMIT);
        }
        a.send_to(b"x", &b.public_key()).unwrap();
        assert_eq!(b.recv_from().await.unwrap().1, key(8).public_key());
        a.status().await.unwrap();
        a.close().await;
        assert!(a.status().await.is_err());
    });
}
