//! Everything between nodes: links, frames under way, and the queue of scheduled events.

use pinecone_controlplane::CloseReason;
use pinecone_fib::PortId;
use pinecone_wire::FrameType;
use pinecone_wire::frame::HEADER_LEN;

use super::frames::kind_of;
use super::links::{End, Links, Transmission};
use super::ping_ledger::PingLedger;
use crate::counts::Counts;
use crate::ids::{LinkId, NodeId};
use crate::link::{Class, Sent};
use crate::loss::Loss;
use crate::node::PeeringEnd;
use crate::queue::Queue;
use crate::random::{Random, Stream};
use crate::time::Nanos;

/// An event that is scheduled for a given time.
#[derive(Debug)]
pub(super) enum Scheduled {
    /// A frame arrives at one end of a peering.
    Frame { to: PeeringEnd, frame: Vec<u8> },
    /// A node's control plane has timers that are due.
    Tick(NodeId),
    /// An end of a peering notices that the peering is over.
    Close { at: PeeringEnd, timed_out: bool },
    /// A handshake over a link ends.
    Connect(LinkId),
    /// A node starts.
    Start(NodeId),
    /// An adversary sends its next batch.
    Misbehave(NodeId),
}

/// An occurrence that an [observer](super::Network::observe) is told of.
#[derive(Clone, Copy, Debug)]
pub enum Observation<'a> {
    /// A frame arrives at a node.
    Frame {
        /// The node.
        node: NodeId,
        /// The port at which it arrives.
        port: PortId,
        /// The whole frame.
        frame: &'a [u8],
    },
    /// A node closes a peering because of what its peer sent.
    Refused {
        /// The node.
        node: NodeId,
        /// The port of the peering.
        port: PortId,
        /// The reason.
        reason: &'a CloseReason,
    },
}

/// A function that is told of occurrences and their times.
pub(super) type Observer = Box<dyn FnMut(Nanos, Observation<'_>) + Send>;

/// A node's write did not finish in time, so that the peering must be closed.
pub(super) struct Stuck;

pub(super) struct Medium {
    pub(super) now: Nanos,
    pub(super) queue: Queue<Scheduled>,
    pub(super) links: Links,
    pub(super) pings: PingLedger,
    pub(super) counts: Counts,
    /// The number of changes of nodes and links that are up.
    pub(super) changes: u64,
    pub(super) observer: Option<Observer>,
    random: Random,
}

impl Medium {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: 0,
            queue: Queue::new(),
            links: Links::default(),
            pings: PingLedger::default(),
            counts: Counts::default(),
            changes: 0,
            observer: None,
            random: Random::new(seed, Stream::Links),
        }
    }

    /// Sends a frame from one end of a peering to the other.
    pub(super) fn transmit(&mut self, from: PeeringEnd, frame: Vec<u8>) -> Result<(), Stuck> {
        let (now, kind) = (self.now, kind_of(&frame));
        let class = match kind {
            FrameType::Traffic => Class::Traffic,
            _ => Class::Protocol,
        };
        self.counts.sent(kind, frame.len());
        let transmission = self
            .links
            .transmit(from, now, frame.len(), class, &mut self.random);
        let Some(Transmission { sent, keepalives }) = transmission else {
            self.lose(&frame, Loss::LinkDown);
            return Ok(());
        };
        self.add_keepalives(keepalives);
        let to = from.other();
        match sent {
            Sent::Arrives(at) => self.queue.push(at, Scheduled::Frame { to, frame }),
            Sent::TooLate(at) => {
                let timed_out = true;
                let close = Scheduled::Close { at: to, timed_out };
                self.queue.push(at.max(now), close);
                self.lose(&frame, Loss::LinkDown);
            }
            Sent::QueueFull => self.lose(&frame, Loss::QueueFull),
            Sent::Stuck => {
                self.counts.peerings_timed_out += 1;
                self.lose(&frame, Loss::LinkDown);
                return Err(Stuck);
            }
        }
        Ok(())
    }

    /// Counts a frame as lost.
    pub(super) fn lose(&mut self, frame: &[u8], loss: Loss) {
        if kind_of(frame) != FrameType::Traffic {
            self.counts.protocol_lost += u64::from(loss != Loss::Adversary);
            return;
        }
        self.counts.losses.count(loss);
        self.pings.lose(frame, loss);
    }

    /// Closes one end of a peering.
    pub(super) fn close(&mut self, at: PeeringEnd) -> Option<End> {
        let (end, keepalives) = self.links.close(at, self.now)?;
        self.add_keepalives(keepalives);
        Some(end)
    }

    /// Counts the keepalives that idle peerings sent since they were last counted.
    pub(super) fn count_keepalives(&mut self) {
        let new = self.links.count_keepalives(self.now);
        self.add_keepalives(new);
    }

    /// Tells the observer, if there is one.
    pub(super) fn observe(&mut self, observation: Observation<'_>) {
        if let Some(observer) = &mut self.observer {
            observer(self.now, observation);
        }
    }

    fn add_keepalives(&mut self, new: u64) {
        self.counts.keepalives.frames += new;
        self.counts.keepalives.bytes += new * HEADER_LEN as u64;
    }
}
