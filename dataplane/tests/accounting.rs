//! Accounting: however a test ends, every traffic frame that arrived has been sent, delivered, or dropped for a reason.
//! The rig checks that when it is dropped, here with many frames under way.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod rig;

use std::io::{Read, Write};

use pinecone_dataplane::{EngineChoice, PortId};
use rig::{Rig, key, payload, traffic};

const SENDERS: u32 = 4;
const SINKS: u32 = 4;

#[test]
fn a_shutdown_in_the_middle_of_it_all() {
    for engine in [EngineChoice::Uring, EngineChoice::Epoll] {
        for workers in [1, 2] {
            for round in 0..5 {
                flood(engine, workers, 2000 * round);
            }
        }
    }
}

/// Four peers send to four others and to this node as fast as they can. One of the receivers does not read, and another
/// peer connects and disconnects. After this many frames, everything is shut down.
fn flood(engine: EngineChoice, workers: usize, frames: u64) {
    let mut rig = Rig::with(engine, workers, |options| {
        options.port_queue_bytes = 256 << 10
    });
    let mut sinks: Vec<_> = (11..11 + SINKS).map(|port| rig.port(port)).collect();
    for port in 11..11 + SINKS {
        rig.route(to(port), port, 7);
    }
    // This peer does not read.
    let _deaf = sinks.pop();
    std::thread::scope(|scope| {
        for port in 1..=SENDERS {
            let mut end = rig.port(port);
            scope.spawn(move || {
                let mut keys = (11..11 + SINKS).map(to).collect::<Vec<_>>();
                keys.push(key(0x55));
                for i in 0.. {
                    let all = keys.iter().map(|key| traffic(*key, 7, &payload(i, 300)));
                    // The write fails when the port closes.
                    if end.write_all(&all.collect::<Vec<_>>().concat()).is_err() {
                        return;
                    }
                }
            });
        }
        for mut end in sinks {
            scope.spawn(move || while matches!(end.read(&mut [0; 65536]), Ok(1..)) {});
        }
        while rig.total().rx_traffic_frames < frames {
            drop(rig.port(20));
            while rig.plane().port_counters(PortId(20)).is_some() {
                std::thread::yield_now();
            }
        }
        rig.plane().shutdown();
    });
    let total = rig.total();
    assert!(total.rx_traffic_frames >= frames);
}

fn to(port: u32) -> pinecone_wire::PublicKey {
    key(0x60 + port as u8)
}
