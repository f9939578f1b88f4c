//! Counters of ports and workers. Each has one writer, the worker that owns the port; anybody reads.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pinecone_fib::Rescue;

/// Why a frame went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum DropReason {
    /// No port leads to its destination.
    NoRoute,
    /// Its next hop is the peering that it came from.
    Backwards,
    /// The way on would undo its progress.
    Watermark,
    /// Its hop limit was used up.
    HopLimit,
    /// It would have grown past 65,535 bytes.
    TooLong,
    /// The packet filter refused it.
    Filter,
    /// The egress port's traffic queue was full.
    QueueFull,
    /// It had waited in the egress port's queue for longer than the target delay.
    QueueDelay,
    /// The egress port's protocol queue was full.
    ProtocolQueueFull,
    /// The control plane was behind with this port's protocol frames.
    ControlBusy,
    /// The egress port's worker was behind.
    HandoffFull,
    /// The local receiver was behind, or there was none.
    DeliveryFull,
    /// The egress port closed before the frame was sent.
    PortClosed,
    /// Its type is unknown.
    UnknownType,
}

impl DropReason {
    /// All of them, in the order of [`CountersSnapshot::drops`].
    pub const ALL: [Self; 14] = [
        Self::NoRoute,
        Self::Backwards,
        Self::Watermark,
        Self::HopLimit,
        Self::TooLong,
        Self::Filter,
        Self::QueueFull,
        Self::QueueDelay,
        Self::ProtocolQueueFull,
        Self::ControlBusy,
        Self::HandoffFull,
        Self::DeliveryFull,
        Self::PortClosed,
        Self::UnknownType,
    ];

    /// A stable name for machines to read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRoute => "no_route",
            Self::Backwards => "backwards",
            Self::Watermark => "watermark",
            Self::HopLimit => "hop_limit",
            Self::TooLong => "too_long",
            Self::Filter => "filter",
            Self::QueueFull => "queue_full",
            Self::QueueDelay => "queue_delay",
            Self::ProtocolQueueFull => "protocol_queue_full",
            Self::ControlBusy => "control_busy",
            Self::HandoffFull => "handoff_full",
            Self::DeliveryFull => "delivery_full",
            Self::PortClosed => "port_closed",
            Self::UnknownType => "unknown_type",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Counts since the port opened. Keepalives are protocol frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountersSnapshot {
    /// Protocol frames received.
    pub rx_protocol_frames: u64,
    /// Their bytes.
    pub rx_protocol_bytes: u64,
    /// Traffic frames received; on port 0, those of local origin.
    pub rx_traffic_frames: u64,
    /// Their bytes.
    pub rx_traffic_bytes: u64,
    /// Protocol frames handed to the kernel.
    pub tx_protocol_frames: u64,
    /// Their bytes.
    pub tx_protocol_bytes: u64,
    /// Traffic frames handed to the kernel.
    pub tx_traffic_frames: u64,
    /// Their bytes.
    pub tx_traffic_bytes: u64,
    /// Traffic frames from this port that were delivered to the node itself.
    pub delivered_frames: u64,
    /// Traffic frames from this port that followed a route that had just expired.
    pub expired_route_frames: u64,
    /// Traffic frames from this port that were led round to another key.
    pub detoured_frames: u64,
    /// Bytes of traffic waiting in the egress queue now.
    pub queued_bytes: u64,
    /// Traffic frames waiting in the egress queue now.
    pub queued_frames: u64,
    /// Frames dropped, by reason: those of the way in on the port they came from, those of the way
    /// out on the port they were for.
    pub drops: [u64; DropReason::ALL.len()],
}

impl CountersSnapshot {
    /// Frames dropped for one reason.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn total_dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Adds another port's counts.
    pub fn add(&mut self, other: &Self) {
        self.rx_protocol_frames += other.rx_protocol_frames;
        self.rx_protocol_bytes += other.rx_protocol_bytes;
        self.rx_traffic_frames += other.rx_traffic_frames;
        self.rx_traffic_bytes += other.rx_traffic_bytes;
        self.tx_protocol_frames += other.tx_protocol_frames;
        self.tx_protocol_bytes += other.tx_protocol_bytes;
        self.tx_traffic_frames += other.tx_traffic_frames;
        self.tx_traffic_bytes += other.tx_traffic_bytes;
        self.delivered_frames += other.delivered_frames;
        self.expired_route_frames += other.expired_route_frames;
        self.detoured_frames += other.detoured_frames;
        self.queued_bytes += other.queued_bytes;
        self.queued_frames += other.queued_frames;
        self.drops
            .iter_mut()
            .zip(other.drops)
            .for_each(|(a, b)| *a += b);
    }
}

/// A count with one writer: a plain add, no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One port's counters, shared with whoever wants to read them.
#[derive(Debug, Default)]
pub struct PortCounters {
    pub(crate) rx_protocol_frames: Count,
    pub(crate) rx_protocol_bytes: Count,
    pub(crate) rx_traffic_frames: Count,
    pub(crate) rx_traffic_bytes: Count,
    pub(crate) tx_protocol_frames: Count,
    pub(crate) tx_protocol_bytes: Count,
    pub(crate) tx_traffic_frames: Count,
    pub(crate) tx_traffic_bytes: Count,
    pub(crate) delivered_frames: Count,
    expired_route_frames: Count,
    detoured_frames: Count,
    pub(crate) queued_bytes: Count,
    pub(crate) queued_frames: Count,
    drops: [Count; DropReason::ALL.len()],
}

impl PortCounters {
    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> CountersSnapshot {
        let mut drops = [0; DropReason::ALL.len()];
        drops
            .iter_mut()
            .zip(&self.drops)
            .for_each(|(out, count)| *out = count.get());
        CountersSnapshot {
            rx_protocol_frames: self.rx_protocol_frames.get(),
            rx_protocol_bytes: self.rx_protocol_bytes.get(),
            rx_traffic_frames: self.rx_traffic_frames.get(),
            rx_traffic_bytes: self.rx_traffic_bytes.get(),
            tx_protocol_frames: self.tx_protocol_frames.get(),
            tx_protocol_bytes: self.tx_protocol_bytes.get(),
            tx_traffic_frames: self.tx_traffic_frames.get(),
            tx_traffic_bytes: self.tx_traffic_bytes.get(),
            delivered_frames: self.delivered_frames.get(),
            expired_route_frames: self.expired_route_frames.get(),
            detoured_frames: self.detoured_frames.get(),
            queued_bytes: self.queued_bytes.get(),
            queued_frames: self.queued_frames.get(),
            drops,
        }
    }

    /// Counts a frame that would have been dropped.
    pub(crate) fn rescued(&self, rescue: Rescue) {
        match rescue {
            Rescue::ExpiredRoute => self.expired_route_frames.add(1),
            Rescue::Detour => self.detoured_frames.add(1),
        }
    }

    #[inline]
    pub(crate) fn dropped(&self, reason: DropReason, frames: u64) {
        self.drops[reason as usize].add(frames);
    }
}

/// What a worker has done since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// The core it is pinned to.
    pub core: Option<usize>,
    /// Ports that it owns now.
    pub ports: u64,
    /// Iterations of its loop.
    pub iterations: u64,
    /// Iterations that slept.
    pub sleeps: u64,
    /// Frames handed over to other workers.
    pub handed_over: u64,
    /// Times that a receive found all buffers in use.
    pub out_of_buffers: u64,
    /// Sends whose bytes were not copied to the kernel.
    pub zero_copy_sends: u64,
    /// Frames of local origin.
    pub local: CountersSnapshot,
    /// The sum of all ports that have closed.
    pub closed: CountersSnapshot,
}

/// One worker's counters.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    pub(crate) core: Option<usize>,
    pub(crate) ports: Count,
    pub(crate) iterations: Count,
    pub(crate) sleeps: Count,
    pub(crate) handed_over: Count,
    pub(crate) out_of_buffers: Count,
    pub(crate) zero_copy_sends: Count,
    /// Frames of local origin.
    pub(crate) local: PortCounters,
    /// The sum of closed ports.
    pub(crate) closed: std::sync::Mutex<CountersSnapshot>,
}

impl WorkerCounters {
    pub(crate) fn snapshot(&self) -> WorkerStats {
        WorkerStats {
            core: self.core,
            ports: self.ports.get(),
            iterations: self.iterations.get(),
            sleeps: self.sleeps.get(),
            handed_over: self.handed_over.get(),
            out_of_buffers: self.out_of_buffers.get(),
            zero_copy_sends: self.zero_copy_sends.get(),
            local: self.local.snapshot(),
            closed: self
                .closed
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .clone(),
        }
    }
}
