//! One worker of the data plane, with routes to its eight ways out.

use std::net::TcpStream;
use std::sync::Arc;

use pinecone_dataplane::fib::{FibWriter, PeerEntry};
use pinecone_dataplane::{
    DataPlane, DataPlaneOptions, Delivery, EngineChoice, LinkType, PortId, PortOptions,
};
use pinecone_wire::{PublicKey, TrafficLayout};

use crate::load::LINKS;

pub struct Router {
    _plane: DataPlane,
    thread: u32,
}

struct Nobody;

impl Delivery for Nobody {
    fn deliver(&self, _: PortId, _: &[u8], _: &TrafficLayout) -> bool {
        false
    }
}

impl Router {
    pub fn start(
        engine: EngineChoice,
        ends: Vec<TcpStream>,
        keys: &[PublicKey],
        core: usize,
    ) -> Self {
        let (mut fib, readers) = FibWriter::new(PublicKey([0x55; 32]));
        let options = DataPlaneOptions {
            engine,
            max_ports: 1024,
            cores: vec![core],
            ..DataPlaneOptions::default()
        };
        let (plane, _reports) =
            DataPlane::start(options, readers, Arc::new(Nobody)).expect("data plane");
        for (port, end) in (1..).zip(ends) {
            let peer = PeerEntry {
                key: PublicKey([0x20 + port as u8; 32]),
                link: LinkType::Remote,
                announcement: None,
            };
            fib.set_peer(PortId(port), peer);
            plane.add_port(
                PortId(port),
                end.into(),
                PortOptions {
                    link: LinkType::Remote,
                    keepalives: false,
                },
            );
        }
        for (i, key) in keys.iter().enumerate() {
            fib.set_route(*key, PortId((LINKS + 1 + i % LINKS) as u32), 7);
        }
        fib.publish();
        while plane.worker_stats()[0].ports < 2 * LINKS as u64 {
            std::thread::yield_now();
        }
        Self {
            _plane: plane,
            thread: thread_named("worker-0"),
        }
    }

    pub fn thread(&self) -> u32 {
        self.thread
    }
}

fn thread_named(name: &str) -> u32 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    tasks
        .filter_map(|t| t.ok()?.file_name().to_str()?.parse().ok())
        .find(|id: &u32| {
            std::fs::read_to_string(format!("/proc/self/task/{id}/comm"))
                .is_ok_and(|comm| comm.trim() == name)
        })
        .expect("worker thread")
}
