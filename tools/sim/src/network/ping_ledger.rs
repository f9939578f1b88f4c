//! A record of all pings that were sent.

use pinecone_wire::PublicKey;
use pinecone_wire::ping::{self, PingType};

use super::frames::payload_of;
use crate::ids::NodeId;
use crate::loss::Loss;
use crate::time::Nanos;

/// A ping and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// The node that sent it.
    pub from: NodeId,
    /// The node that must answer.
    pub to: NodeId,
    /// The time at which it was sent.
    pub sent: Nanos,
    /// The time at which it arrived.
    pub arrived: Option<Nanos>,
    /// The number of links that it took, if it arrived.
    pub hops: Option<u32>,
    /// The time at which the answer arrived at the sender.
    pub answered: Option<Nanos>,
    /// The reason why the ping or its answer was lost, if it was.
    pub lost: Option<Loss>,
}

/// The pings, by number. Their payloads contain the number.
#[derive(Debug, Default)]
pub(super) struct PingLedger(Vec<Ping>);

impl PingLedger {
    pub(super) fn all(&self) -> &[Ping] {
        &self.0
    }

    /// Records a ping that is sent now. Returns its number and its payload.
    pub(super) fn add(
        &mut self,
        (from, from_key): (NodeId, PublicKey),
        (to, to_key): (NodeId, PublicKey),
        now: Nanos,
    ) -> (usize, Vec<u8>) {
        let number = self.0.len();
        self.0.push(Ping {
            from,
            to,
            sent: now,
            arrived: None,
            hops: None,
            answered: None,
            lost: None,
        });
        let payload = ping::Ping {
            kind: PingType::Ping,
            hops: 0,
            origin: from_key,
            destination: to_key,
            data: &(number as u64).to_be_bytes(),
        };
        (number, payload.encode())
    }

    /// Records the arrival of a ping or an answer. Returns the node to answer and the answer.
    pub(super) fn arrive(
        &mut self,
        ping: &ping::Ping<'_>,
        now: Nanos,
    ) -> Option<(NodeId, Vec<u8>)> {
        let record = self.0.get_mut(number(ping)?)?;
        match ping.kind {
            PingType::Ping => {
                record.arrived = Some(now);
                record.hops = Some(u32::from(ping.hops) + 1);
                Some((record.from, ping.pong().encode()))
            }
            PingType::Pong => {
                record.answered = Some(now);
                None
            }
        }
    }

    /// Records that a frame was lost, if it is a ping or an answer.
    pub(super) fn lose(&mut self, frame: &[u8], loss: Loss) {
        let number = ping::Ping::decode(payload_of(frame))
            .as_ref()
            .and_then(number);
        if let Some(ping) = number.and_then(|n| self.0.get_mut(n)) {
            ping.lost = Some(loss);
        }
    }
}

fn number(ping: &ping::Ping<'_>) -> Option<usize> {
    let bytes = ping.data.first_chunk()?;
    usize::try_from(u64::from_be_bytes(*bytes)).ok()
}
