//! The cost of idle peerings: CPU time of a worker that only sends and receives keepalives, and memory
//! for each port. Both ends of a peering are ports of the same worker, so keepalives go both ways.
//!
//! ```text
//! cargo bench -p pinecone-benches --bench idle -- [--ports N] [--seconds N]
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use pinecone_dataplane::{
    DataPlane, DataPlaneOptions, Delivery, LinkType, PortId, PortOptions, Report,
};
use pinecone_fib::FibWriter;
use pinecone_wire::{PublicKey, TrafficLayout};

struct Nobody;

impl Delivery for Nobody {
    fn deliver(&self, _: PortId, _: &[u8], _: &TrafficLayout) -> bool {
        false
    }
}

fn main() {
    let mut options = std::env::args().skip(1);
    let (mut ports, mut seconds) = (10_000, 12);
    while let Some(option) = options.next() {
        match option.as_str() {
            "--ports" => ports = options.next().unwrap().parse().unwrap(),
            "--seconds" => seconds = options.next().unwrap().parse().unwrap(),
            "--test" => (ports, seconds) = (20, 0),
            _ => {}
        }
    }
    if cfg!(debug_assertions) {
        (ports, seconds) = (20, 0);
    }
    let (_fib, readers) = FibWriter::new(PublicKey([0x55; 32]));
    let (plane, reports) =
        DataPlane::start(DataPlaneOptions::default(), readers, Arc::new(Nobody)).unwrap();
    let before = resident();
    for pair in 0..ports / 2 {
        let (one, other) = UnixStream::pair().unwrap();
        let options = PortOptions {
            link: LinkType::Pipe,
            keepalives: true,
        };
        plane.add_port(PortId(2 * pair + 1), one.into(), options);
        plane.add_port(PortId(2 * pair + 2), other.into(), options);
    }
    while plane.worker_stats()[0].ports < u64::from(ports / 2 * 2) {
        std::thread::yield_now();
    }
    // Every port has then sent its first keepalive.
    std::thread::sleep(Duration::from_secs(seconds.min(4)));
    let memory = resident().saturating_sub(before) / u64::from(ports);
    let cpu = cpu();
    std::thread::sleep(Duration::from_secs(seconds));
    let used = self::cpu().saturating_sub(cpu);
    let sent: u64 = (1..=ports)
        .filter_map(|p| plane.port_counters(PortId(p)))
        .map(|c| c.tx_protocol_frames)
        .sum();
    if let Ok(Report::Closed { port, reason }) = reports.try_recv() {
        println!("port {port} closed: {reason}");
    }
    println!(
        "{ports} idle ports: {:.2} % of a core, {memory} bytes a port, {sent} keepalives, {} closed",
        used.as_secs_f64() / (seconds.max(1) as f64) * 100.0,
        reports.len(),
    );
}

/// Returns the CPU time of the process. Only the worker is running.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the resident memory of the process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 4096
}
