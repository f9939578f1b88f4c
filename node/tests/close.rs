//! Tests that a closed node leaves nothing behind. The test is alone in its process, so that it can count threads.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pinecone::{Event, Node, StreamOptions, pipe};

const LIMIT: Duration = Duration::from_secs(20);

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Checks that the threads and descriptors are back to these numbers. Threads that have ended are still listed for a
/// moment.
fn assert_back_to(threads_before: usize, descriptors_before: usize) {
    let deadline = Instant::now() + LIMIT;
    while (threads(), descriptors()) != (threads_before, descriptors_before) {
        let now = (threads(), descriptors());
        let before = (threads_before, descriptors_before);
        assert!(Instant::now() < deadline, "{now:?}, not {before:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn closing_releases_ports_threads_and_descriptors() {
    let start = || {
        let builder = Node::builder().listen("127.0.0.1:0").workers(2);
        builder.start_blocking().unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let before = (threads(), descriptors());
    for dropped in [false, true] {
        let (a, b) = (start(), start());
        let addresses = [a.local_addrs()[0], b.local_addrs()[0]];
        let mut events = b.events();
        runtime.block_on(async {
            pipe(&a, &b).await.unwrap();
            a.connect(&addresses[1].to_string()).await.unwrap();
            let (of_a, of_b) = tokio::io::duplex(4096);
            let options = StreamOptions::default;
            let relayed = tokio::join!(
                a.connect_relayed(of_a, options()),
                b.connect_relayed(of_b, options())
            );
            relayed.0.and(relayed.1).unwrap();
            assert_eq!(a.peers().await.unwrap().len(), 3);
            let mut added = 0;
            while added < 3 {
                let event = tokio::time::timeout(LIMIT, events.next()).await.unwrap();
                added += usize::from(matches!(event, Some(Event::PeerAdded { .. })));
            }
        });
        // A caller that waits must not wait forever.
        let waiting = {
            let b = b.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(b.recv_from())
            })
        };
        if dropped {
            b.close_blocking();
            assert!(waiting.join().unwrap().is_err());
            drop((a, b));
        } else {
            runtime.block_on(async {
                tokio::join!(a.close(), a.close(), b.close());
                // Closing again has no effect.
                a.close().await;
                assert!(a.peers().await.is_err());
                assert!(a.connect(&addresses[1].to_string()).await.is_err());
                assert!(pipe(&a, &b).await.is_err());
            });
            assert!(waiting.join().unwrap().is_err());
        }
        // The end of each peering is reported before the end of the events.
        let mut gone = 0;
        while let Some(event) = runtime.block_on(events.next()) {
            gone += usize::from(matches!(event, Event::PeerRemoved { .. }));
        }
        assert_eq!(gone, 3);
        drop(events);
        // A drop does not wait for the end of the node.
        assert_back_to(before.0, before.1);
        for address in addresses {
            // The address is free for others.
            TcpListener::bind(address).unwrap();
        }
    }
    // A node that does not start leaves nothing behind either.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for builder in [
        Node::builder().listen(address),
        Node::builder().listen("127.0.0.1:0").runtime_core(1023),
        Node::builder().listen("127.0.0.1:0").control_core(1023),
        Node::builder().listen("127.0.0.1:0").workers(0),
    ] {
        builder.start_blocking().unwrap_err();
    }
    drop(taken);
    assert_back_to(before.0, before.1);
}
