//! A data plane whose peers are Unix socket pairs.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam::channel::Receiver;
use pinecone_dataplane::{
    CloseReason, CountersSnapshot, DataPlane, DataPlaneOptions, Delivery, DropReason, EngineChoice,
    LinkType, PacketFilter, PortCounters, PortId, PortOptions, Report, TrafficFrame,
};
use pinecone_fib::FibWriter;
use pinecone_wire::traffic::push_traffic;
use pinecone_wire::{Coordinates, PublicKey, TrafficFields, TrafficLayout, Watermark};

/// Makes a test of each function and engine.
#[allow(unused_macros)]
macro_rules! with_every_engine {
    ($($test:ident)*) => {
        mod uring {
            $(#[test] fn $test() { super::$test(pinecone_dataplane::EngineChoice::Uring.into()) })*
        }
        mod epoll {
            $(#[test] fn $test() { super::$test(pinecone_dataplane::EngineChoice::Epoll.into()) })*
        }
    };
}

/// Makes a test of each function, with these options.
#[allow(unused_macros)]
macro_rules! with_options {
    ($name:ident, $engine:ident, $change:expr, $($test:ident)*) => {
        mod $name {
            const SETTING: crate::rig::Setting = crate::rig::Setting {
                engine: pinecone_dataplane::EngineChoice::$engine,
                change: $change,
            };
            $(#[test] fn $test() { super::$test(SETTING) })*
        }
    };
}

const DEADLINE: Duration = Duration::from_secs(20);

pub struct Rig {
    plane: DataPlane,
    reports: Receiver<Report>,
    fib: FibWriter,
    delivered: Arc<Delivered>,
    counters: BTreeMap<u32, Arc<PortCounters>>,
}

/// An engine, and changes to the default options.
#[derive(Clone, Copy)]
pub struct Setting {
    pub engine: EngineChoice,
    pub change: fn(&mut DataPlaneOptions),
}

impl From<EngineChoice> for Setting {
    fn from(engine: EngineChoice) -> Self {
        Self {
            engine,
            change: |_| {},
        }
    }
}

#[derive(Default)]
struct Delivered {
    frames: Mutex<Vec<(PortId, Vec<u8>)>>,
    panics: AtomicBool,
}

impl Delivery for Delivered {
    fn deliver(&self, ingress: PortId, frame: &[u8], _: &TrafficLayout) -> bool {
        assert!(!self.panics.load(Ordering::Relaxed), "on purpose");
        self.frames.lock().unwrap().push((ingress, frame.to_vec()));
        true
    }
}

struct Filter<F>(F);

impl<F: Fn(PortId, &[u8]) -> bool + Send + Sync> PacketFilter for Filter<F> {
    fn pass(&self, frame: &TrafficFrame<'_>) -> bool {
        self.0(frame.ingress(), frame.bytes())
    }
}

impl Rig {
    pub fn new(setting: impl Into<Setting>, workers: usize) -> Self {
        Self::with(setting, workers, |_| {})
    }

    pub fn with(
        setting: impl Into<Setting>,
        workers: usize,
        change: impl FnOnce(&mut DataPlaneOptions),
    ) -> Self {
        let (fib, readers) = FibWriter::new(key(0x55));
        let delivered = Arc::new(Delivered::default());
        let setting = setting.into();
        let mut options = DataPlaneOptions {
            workers,
            engine: setting.engine,
            max_ports: 256,
            // Some tests let peers stop reading, and then expect all frames that waited.
            queue_delay: None,
            ..DataPlaneOptions::default()
        };
        (setting.change)(&mut options);
        change(&mut options);
        let (plane, reports) =
            DataPlane::start(options, readers, delivered.clone()).expect("data plane");
        Self {
            plane,
            reports,
            fib,
            delivered,
            counters: BTreeMap::new(),
        }
    }

    pub fn own_key(&self) -> PublicKey {
        key(0x55)
    }

    pub fn plane(&self) -> &DataPlane {
        &self.plane
    }

    /// Adds a port without keepalives. Returns the peer's end.
    pub fn port(&mut self, port: u32) -> UnixStream {
        self.port_with(port, false)
    }

    pub fn port_with(&mut self, port: u32, keepalives: bool) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_read_timeout(Some(DEADLINE)).unwrap();
        self.add(port, ours.into(), keepalives);
        theirs
    }

    /// Adds a TCP port without keepalives. Returns the peer's end.
    pub fn tcp_port(&mut self, port: u32) -> TcpStream {
        self.tcp_port_with(port, false)
    }

    pub fn tcp_port_with(&mut self, port: u32, keepalives: bool) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        theirs.set_read_timeout(Some(DEADLINE)).unwrap();
        let (ours, _) = listener.accept().unwrap();
        self.add(port, ours.into(), keepalives);
        theirs
    }

    fn add(&mut self, port: u32, ours: OwnedFd, keepalives: bool) {
        let options = PortOptions {
            link: LinkType::Pipe,
            keepalives,
        };
        let ports = |plane: &DataPlane| plane.worker_stats().iter().map(|w| w.ports).sum::<u64>();
        let before = ports(&self.plane);
        let counters = self.plane.add_port(PortId(port), ours, options);
        self.counters.insert(port, counters);
        // A worker takes the port some time later; frames for it would be dropped until then.
        self.wait_for(|r| ports(&r.plane) > before);
    }

    /// Expires a route.
    pub fn expire(&mut self, key: PublicKey) {
        assert!(self.fib.expire_route(&key));
        self.fib.publish();
    }

    pub fn route(&mut self, key: PublicKey, port: u32, sequence: u64) {
        self.fib.set_route(key, PortId(port), sequence);
        self.fib.publish();
    }

    pub fn filter(&self, pass: impl Fn(PortId, &[u8]) -> bool + Send + Sync + 'static) {
        self.plane.set_filter(Some(Arc::new(Filter(pass))));
    }

    pub fn counters(&self, port: u32) -> CountersSnapshot {
        self.counters[&port].snapshot()
    }

    /// Returns the sum of the counters of all ports, open or closed, and of local traffic.
    pub fn total(&self) -> CountersSnapshot {
        let mut total = CountersSnapshot::default();
        self.plane
            .worker_stats()
            .into_iter()
            .flat_map(|w| [w.local, w.closed])
            .for_each(|counts| total.add(&counts));
        // Closed ports are in the workers' sums already.
        (0..256)
            .filter_map(|p| self.plane.port_counters(PortId(p)))
            .for_each(|c| total.add(&c));
        total
    }

    pub fn delivered(&self) -> Vec<(PortId, Vec<u8>)> {
        self.delivered.frames.lock().unwrap().clone()
    }

    /// Makes a worker panic when it delivers a frame.
    pub fn panic_on_delivery(&self) {
        self.delivered.panics.store(true, Ordering::Relaxed);
    }

    pub fn wait_for(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "condition never held");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until every traffic frame that arrived is accounted for.
    pub fn wait_until_balanced(&self) {
        self.wait_for(|r| {
            let total = r.total();
            total.queued_frames == 0 && is_balanced(&total)
        });
    }

    pub fn try_report(&self) -> Option<Report> {
        self.reports.try_recv().ok()
    }

    pub fn report(&self) -> Report {
        self.reports.recv_timeout(DEADLINE).expect("report")
    }

    pub fn report_within(&self, limit: Duration) -> Option<(PortId, CloseReason)> {
        let deadline = Instant::now() + limit;
        while let Ok(report) = self.reports.recv_deadline(deadline) {
            if let Report::Closed { port, reason } = report {
                return Some((port, reason));
            }
        }
        None
    }
}

impl Drop for Rig {
    /// Checks that the counters add up, whatever was under way.
    fn drop(&mut self) {
        self.plane.shutdown();
        let total = self.total();
        if !std::thread::panicking() {
            assert!(
                total.queued_frames == 0 && is_balanced(&total),
                "{total:?} {:?}",
                self.plane.worker_stats()
            );
        }
    }
}

/// Reports whether all traffic that arrived is accounted for. Some drops are of protocol frames.
fn is_balanced(total: &CountersSnapshot) -> bool {
    let protocol = [
        DropReason::ProtocolQueueFull,
        DropReason::ControlBusy,
        DropReason::UnknownType,
    ]
    .map(|reason| total.dropped(reason));
    let dropped = total.total_dropped() - protocol.iter().sum::<u64>();
    total.rx_traffic_frames == total.tx_traffic_frames + total.delivered_frames + dropped
}

/// Returns a core that this process may use.
pub fn usable_core() -> usize {
    let allowed = rustix::thread::sched_getaffinity(None).unwrap();
    (0..rustix::thread::CpuSet::MAX_CPU)
        .find(|core| allowed.is_set(*core))
        .unwrap()
}

pub const fn key(byte: u8) -> PublicKey {
    PublicKey([byte; 32])
}

/// Returns a payload that contains a number.
pub fn payload(number: usize, size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size).map(|i| (i * 7 + number) as u8).collect();
    bytes
        .iter_mut()
        .zip((number as u32).to_be_bytes())
        .for_each(|(b, n)| *b = n);
    bytes
}

/// Returns the number in a frame with such a payload of four bytes or more.
pub fn number(frame: &[u8]) -> usize {
    let layout = TrafficLayout::parse(frame).unwrap();
    u32::from_be_bytes(*layout.payload(frame).first_chunk().unwrap()) as usize
}

/// Returns a traffic frame as forwarded by a node whose route for `to` has `sequence`.
pub fn traffic(to: PublicKey, sequence: u64, payload: &[u8]) -> Vec<u8> {
    traffic_with(to, Watermark { key: to, sequence }, payload)
}

pub fn traffic_with(to: PublicKey, watermark: Watermark, payload: &[u8]) -> Vec<u8> {
    build(to, &Coordinates::default(), watermark, payload)
}

pub fn traffic_to(to: PublicKey, destination: &Coordinates, payload: &[u8]) -> Vec<u8> {
    build(to, destination, Watermark::START, payload)
}

fn build(
    to: PublicKey,
    destination: &Coordinates,
    watermark: Watermark,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    let fields = TrafficFields {
        extra: 0,
        hop_limit: 10,
        destination,
        source: &Coordinates::default(),
        destination_key: to,
        source_key: key(0x11),
        watermark,
        payload,
    };
    push_traffic(&mut frame, &fields).expect("fits");
    frame
}

/// Reads one frame of any type.
pub fn read_frame(from: &mut impl Read) -> Vec<u8> {
    let mut frame = vec![0; 10];
    from.read_exact(&mut frame).expect("header");
    frame.resize(usize::from(u16::from_be_bytes([frame[8], frame[9]])), 0);
    from.read_exact(&mut frame[10..]).expect("body");
    frame
}
