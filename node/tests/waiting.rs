//! Tests that no caller waits without a bound for a control thread that is held up. They have a process of their own,
//! since the log holds up the thread.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use pinecone::{Builder, Limits, Node, NodeOptions, SecretKey};
use pinecone_wire::handshake;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const LIMIT: Duration = Duration::from_secs(40);
const CAP: usize = 8;

/// Set when the control thread may go on.
static OPEN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// A log that the control thread waits for.
struct Stalled;

impl Subscriber for Stalled {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        if std::thread::current().name() == Some("pinecone-control") {
            let open = OPEN.0.lock().unwrap();
            drop(OPEN.1.wait_while(open, |open| !*open).unwrap());
        }
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Connects and shakes hands. Returns `None` if the node closed the connection.
fn shake(node: &Node, seed: u8) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(node.local_addrs()[0]).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let key = SecretKey::from_seed(&[seed; 32]);
    // Fails, as does the read, if the node has closed it.
    let _ = stream.write_all(&handshake::encode(&key));
    let mut theirs = [0; 104];
    stream.read_exact(&mut theirs).is_ok().then_some(stream)
}

#[test]
fn a_bounded_number_of_streams_waits_for_the_control_thread() {
    tracing::subscriber::set_global_default(Stalled).unwrap();
    let limits = Limits {
        inbound_handshakes: CAP,
        ..Limits::default()
    };
    let options = NodeOptions {
        listen: vec!["127.0.0.1:0".to_owned()],
        transport_limits: limits,
        ..NodeOptions::default()
    };
    let node = Builder::from(options).start_blocking().unwrap();
    // The first becomes a peering, and the log line about it blocks the control thread.
    let shaken: Vec<_> = (1..=60).filter_map(|seed| shake(&node, seed)).collect();
    assert!((1..=CAP).contains(&shaken.len()), "{}", shaken.len());
    drop(shaken);
    *OPEN.0.lock().unwrap() = true;
    OPEN.1.notify_all();
    // There is room again once the control thread has taken the streams.
    let deadline = Instant::now() + LIMIT;
    while shake(&node, 99).is_none() {
        assert!(Instant::now() < deadline, "no room again");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Dropping the last handle does not wait for the control thread, which is held up when it logs the end.
    *OPEN.0.lock().unwrap() = false;
    let before = Instant::now();
    drop(node);
    assert!(before.elapsed() < Duration::from_secs(1), "it waited");
    *OPEN.0.lock().unwrap() = true;
    OPEN.1.notify_all();
}
