//! The data plane of this repository.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use pinecone_dataplane::{
    CountersSnapshot, DataPlane, DataPlaneOptions, Delivery, DropReason, LinkType, PortCounters,
    PortId, PortOptions,
};
use pinecone_wire::TrafficLayout;

use super::account::{Account, Forwarder};
use super::tables::Tables;
use crate::links::{ROUTER_CORE, wait_until};

/// The distribution of ports among workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A single worker.
    One,
    /// Two workers, each with every second connection in and every second connection out.
    Alternate,
    /// Two workers, of which one has the connections in and the other the connections out.
    Split,
}

pub struct Plane {
    plane: DataPlane,
    ports: Vec<Arc<PortCounters>>,
    threads: Vec<u32>,
}

struct Nobody;

impl Delivery for Nobody {
    fn deliver(&self, _: PortId, _: &[u8], _: &TrafficLayout) -> bool {
        false
    }
}

impl Plane {
    pub fn start(
        options: DataPlaneOptions,
        ends: Vec<TcpStream>,
        tables: &Tables,
        placement: Placement,
    ) -> Result<Self> {
        let present = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = match placement {
            Placement::One => 1,
            Placement::Alternate | Placement::Split => 2,
        };
        let options = DataPlaneOptions {
            workers,
            cores: (ROUTER_CORE..).take(workers).map(|c| c % present).collect(),
            max_ports: 4096,
            ..options
        };
        let (plane, _reports) = DataPlane::start(options, tables.fib.clone(), Arc::new(Nobody))?;
        let count = ends.len();
        let mut ends: Vec<_> = (1..).map(PortId).zip(ends).collect();
        if placement == Placement::Split {
            // Each port is added to the worker with the fewest ports, so to one and the other in alternation.
            let outputs = ends.split_off(count / 2);
            let pairs = ends.into_iter().zip(outputs);
            ends = pairs.flat_map(|(input, output)| [input, output]).collect();
        }
        let ports = ends.into_iter().map(|(port, end)| {
            let options = PortOptions {
                link: LinkType::Remote,
                keepalives: false,
            };
            plane.add_port(port, end.into(), options)
        });
        let ports = ports.collect();
        let open = || plane.worker_stats().iter().map(|w| w.ports).sum::<u64>();
        ensure!(
            wait_until(Duration::from_secs(10), || open() == count as u64),
            "the ports do not open"
        );
        let threads = (0..workers).map(|w| thread_named(&format!("worker-{w}")));
        Ok(Self {
            threads: threads.collect(),
            plane,
            ports,
        })
    }

    /// Returns the number of frames handed over from one worker to the other.
    pub fn handed_over(&self) -> u64 {
        self.plane
            .worker_stats()
            .iter()
            .map(|w| w.handed_over)
            .sum()
    }
}

impl Forwarder for Plane {
    fn threads(&self) -> &[u32] {
        &self.threads
    }

    fn account(&self) -> Option<Account> {
        let mut sum = CountersSnapshot::default();
        self.ports.iter().for_each(|p| sum.add(&p.snapshot()));
        // Frames whose port was closed after they had been handed over.
        self.plane
            .worker_stats()
            .iter()
            .for_each(|w| sum.add(&w.local));
        let reasons = DropReason::ALL
            .iter()
            .filter(|r| sum.dropped(**r) > 0)
            .map(|r| format!("{} {}", sum.dropped(*r), r.name()));
        Some(Account {
            received: sum.rx_traffic_frames + sum.rx_protocol_frames,
            forwarded: sum.tx_traffic_frames,
            forwarded_bytes: sum.tx_traffic_bytes,
            delivered: sum.delivered_frames,
            dropped: sum.total_dropped(),
            reasons: reasons.collect::<Vec<_>>().join(", "),
            waiting: sum.queued_frames,
        })
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
