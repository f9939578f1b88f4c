//! The memory of idle data planes. A test binary of its own, since it measures the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod rig;

use std::io::Write;

use pinecone_dataplane::{DataPlaneOptions, EngineChoice};
use pinecone_wire::frame::KEEPALIVE;
use rig::{Rig, Setting};

const PLANES: usize = 20;

/// Returns the resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().strip_suffix("kB").unwrap().trim();
    kib.parse::<usize>().unwrap() << 10
}

/// Returns the memory of a data plane with two peers, of which one has sent a frame.
fn memory_of_one(engine: EngineChoice, change: fn(&mut DataPlaneOptions)) -> usize {
    let start = || {
        let mut rig = Rig::new(Setting { engine, change }, 1);
        let mut peers = [rig.port(1), rig.port(2)];
        peers[0].write_all(&KEEPALIVE).unwrap();
        rig.wait_for(|r| r.counters(1).rx_protocol_frames == 1);
        (rig, peers)
    };
    // The first one also initialises what all data planes share.
    let _first = start();
    let before = resident();
    let _all: Vec<_> = (0..PLANES).map(|_| start()).collect();
    (resident() - before) / PLANES
}

#[test]
fn receive_buffers_take_memory_only_when_they_are_used() {
    for engine in [EngineChoice::Uring, EngineChoice::Epoll] {
        let default = memory_of_one(engine, |_| {});
        println!("{engine}: {default} bytes by default");
        // The buffers alone are 4 MiB.
        assert!(default < 1 << 20, "{engine}: {default}");
        let small = memory_of_one(engine, |options| {
            *options = DataPlaneOptions {
                engine: options.engine,
                workers: options.workers,
                ..DataPlaneOptions::small()
            };
        });
        println!("{engine}: {small} bytes when small");
        assert!(small < 300 << 10, "{engine}: {small}");
    }
}
