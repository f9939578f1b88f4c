//! Pings: real traffic frames that are answered, so that what a user of the network would see can
//! be counted.

use pinecone_fib::PortId;
use pinecone_wire::TrafficLayout;
use pinecone_wire::ping::{self, PingType};

use super::Network;
use super::frames::{payload_of, traffic_from};
use crate::ids::NodeId;
use crate::loss::Loss;
use crate::time::{self, Nanos};

/// What became of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Who asked.
    pub from: NodeId,
    /// Who was asked.
    pub to: NodeId,
    /// When.
    pub sent: Nanos,
    /// When it got there, if it did.
    pub arrived: Option<Nanos>,
    /// How many links it took.
    pub hops: Option<u32>,
    /// When the answer came back, if it did.
    pub answered: Option<Nanos>,
    /// Why it, or its answer, was lost.
    pub lost: Option<Loss>,
}

impl Network {
    /// Sends a ping; its number in [`Self::pings`].
    pub fn ping(&mut self, from: NodeId, to: NodeId) -> usize {
        let number = self.pings.len();
        self.pings.push(Ping {
            from,
            to,
            sent: self.now,
            arrived: None,
            hops: None,
            answered: None,
            lost: None,
        });
        let payload = ping::Ping {
            kind: PingType::Ping,
            hops: 0,
            origin: self.key(from),
            destination: self.key(to),
            data: &(number as u64).to_be_bytes(),
        };
        let payload = payload.encode();
        self.originate(from, to, &payload);
        number
    }

    /// Traffic has come to where it ends: an answer to a ping goes back, anything else is noted.
    pub(super) fn deliver(&mut self, id: NodeId, frame: &[u8]) {
        let Ok(layout) = TrafficLayout::parse(frame) else {
            return self.lose(frame, Loss::Malformed);
        };
        let now = time::now(self.now);
        let key = self.key(id);
        if layout.destination_key(frame) != key {
            return self.lose(frame, Loss::WrongNode);
        }
        let source = layout.source(frame);
        if !source.is_empty()
            && let Some(node) = self.node_mut(id)
        {
            let source_key = layout.source_key(frame);
            node.cache().insert(now, source_key, source.into());
        }
        let Some(ping) = ping::Ping::decode(layout.payload(frame)) else {
            return;
        };
        let (time, hops) = (self.now, u32::from(ping.hops) + 1);
        let Some(noted) = number(&ping).and_then(|n| self.pings.get_mut(n)) else {
            return;
        };
        match ping.kind {
            PingType::Ping => {
                noted.arrived = Some(time);
                noted.hops = Some(hops);
                let origin = noted.from;
                self.originate(id, origin, &ping.pong().encode());
            }
            PingType::Pong => noted.answered = Some(time),
        }
    }

    pub(super) fn lose_ping(&mut self, frame: &[u8], loss: Loss) {
        let noted = ping::Ping::decode(payload_of(frame))
            .as_ref()
            .and_then(number);
        if let Some(ping) = noted.and_then(|n| self.pings.get_mut(n)) {
            ping.lost = Some(loss);
        }
    }

    /// Sends a payload as a node's sessions would: by the destination's coordinates where they
    /// are known, else by key.
    fn originate(&mut self, from: NodeId, to: NodeId, payload: &[u8]) {
        let now = time::now(self.now);
        let (key, destination_key) = (self.key(from), self.key(to));
        let source = self.coordinates(from);
        let Some(node) = self.node_mut(from).filter(|node| node.alive) else {
            return;
        };
        let cache = node.cache();
        let destination = cache.get(now, &destination_key).unwrap_or_default();
        cache.sent_to(now, &destination_key);
        let frame = traffic_from(key, &source, destination_key, &destination, payload);
        self.route(from, PortId::LOCAL, frame);
    }
}

fn number(ping: &ping::Ping<'_>) -> Option<usize> {
    let bytes = ping.data.first_chunk()?;
    usize::try_from(u64::from_be_bytes(*bytes)).ok()
}
