//! Counters of ports and workers. Each has one writer, the worker that owns the port; any thread may
//! read it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pinecone_fib::Rescue;

use crate::backlog::Backlog;

/// The reason why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum DropReason {
    /// No next hop towards its destination is known.
    NoRoute,
    /// The next hop is the peering that the frame came from.
    Backwards,
    /// The next hop would undo the frame's progress.
    Watermark,
    /// The frame's hop limit was used up.
    HopLimit,
    /// The frame would have grown past 65,535 bytes.
    TooLong,
    /// The packet filter refused it.
    Filter,
    /// The egress port's traffic queue was full.
    QueueFull,
    /// The frame had waited in the egress port's queue for longer than the target delay.
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
    /// The frame's type is unknown.
    UnknownType,
}

impl DropReason {
    /// Every reason, in the order of [`CountersSnapshot::drops`].
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

    /// A stable name, for programs.
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

/// A count with one writer: a plain addition, without a locked instruction.
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

/// Defines, from one list, the counters of a port, the snapshot of their values, and the numbers of frames and bytes
/// among them.
macro_rules! port_counters {
    (
        traffic { $($(#[$traffic_doc:meta])* $traffic:ident)* }
        others { $($(#[$other_doc:meta])* $other:ident)* }
    ) => {
        /// Numbers of frames and bytes in each direction, for protocol frames and for traffic.
        /// Received ("rx") is from the peer. Keepalives are protocol frames.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct Traffic {
            $($(#[$traffic_doc])* pub $traffic: u64,)*
        }

        /// The values of a port's counters since it opened. Keepalives are protocol frames.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct CountersSnapshot {
            $($(#[$traffic_doc])* pub $traffic: u64,)*
            $($(#[$other_doc])* pub $other: u64,)*
            /// Frames dropped, by reason: on the ingress side on the port that they came from, on the
            /// egress side on the port that they were for.
            pub drops: [u64; DropReason::ALL.len()],
        }

        /// The counters of a port, which any thread may read.
        #[derive(Debug, Default)]
        pub struct PortCounters {
            $(pub(crate) $traffic: Count,)*
            $(pub(crate) $other: Count,)*
            /// Traffic of local origin in the egress queue.
            pub(crate) backlog: Backlog,
            drops: [Count; DropReason::ALL.len()],
        }

        impl Traffic {
            /// Returns what was added since `earlier`.
            #[must_use]
            pub const fn since(&self, earlier: &Self) -> Self {
                Self {
                    $($traffic: self.$traffic.wrapping_sub(earlier.$traffic),)*
                }
            }
        }

        impl CountersSnapshot {
            /// Returns the numbers of frames and bytes.
            #[must_use]
            pub const fn traffic(&self) -> Traffic {
                Traffic {
                    $($traffic: self.$traffic,)*
                }
            }

            /// Adds the values of another port.
            pub fn add(&mut self, other: &Self) {
                $(self.$traffic += other.$traffic;)*
                $(self.$other += other.$other;)*
                self.drops
                    .iter_mut()
                    .zip(other.drops)
                    .for_each(|(a, b)| *a += b);
            }
        }

        impl PortCounters {
            /// Returns the values now.
            #[must_use]
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot {
                    $($traffic: self.$traffic.get(),)*
                    $($other: self.$other.get(),)*
                    drops: std::array::from_fn(|i| self.drops[i].get()),
                }
            }
        }
    };
}

port_counters! {
    traffic {
        /// Protocol frames received.
        rx_protocol_frames
        /// Bytes of protocol frames received.
        rx_protocol_bytes
        /// Traffic frames received; on port 0, those of local origin.
        rx_traffic_frames
        /// Bytes of traffic frames received.
        rx_traffic_bytes
        /// Protocol frames given to the kernel.
        tx_protocol_frames
        /// Bytes of protocol frames given to the kernel.
        tx_protocol_bytes
        /// Traffic frames given to the kernel.
        tx_traffic_frames
        /// Bytes of traffic frames given to the kernel.
        tx_traffic_bytes
    }
    others {
        /// Traffic frames from this port that were delivered to the node itself.
        delivered_frames
        /// Traffic frames from this port that followed a route that had just expired.
        expired_route_frames
        /// Traffic frames from this port that were sent towards another key.
        detoured_frames
        /// Bytes of traffic that wait in the egress queue now.
        queued_bytes
        /// Traffic frames that wait in the egress queue now.
        queued_frames
        /// Frames of local origin among those dropped on the egress side.
        local_drops
    }
}

impl CountersSnapshot {
    /// Returns the number of frames dropped for a reason.
    #[must_use]
    pub const fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Returns the number of frames dropped for any reason.
    #[must_use]
    pub fn total_dropped(&self) -> u64 {
        self.drops.iter().sum()
    }
}

impl PortCounters {
    /// Counts a frame that would have been dropped without a second lookup.
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

/// The values of a worker's counters since it started.
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
    /// Times that bytes had to wait because no receive buffer was free.
    pub out_of_buffers: u64,
    /// Sends whose bytes were not copied to the kernel.
    pub zero_copy_sends: u64,
    /// Frames of local origin.
    pub local: CountersSnapshot,
    /// The sum of all ports that have closed.
    pub closed: CountersSnapshot,
}

/// The counters of a worker.
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
