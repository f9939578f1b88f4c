//! Links between nodes, and the peerings that run over them.

use pinecone_fib::PortId;

use crate::ids::{LinkId, NodeId};
use crate::link::{Class, Direction, LinkOptions, SILENCE, Sent};
use crate::loss::Loss;
use crate::node::PeeringEnd;
use crate::random::Random;
use crate::time::Nanos;

/// The number of link latencies that connecting and shaking hands take.
const HANDSHAKE_TRIPS: u64 = 3;

/// A connection over which two nodes can have a peering.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [NodeId; 2],
    pub(super) options: LinkOptions,
    pub(super) up: bool,
    /// The peering that no end has closed yet.
    peering: Option<u32>,
    /// The time at which the handshake that is under way ends.
    handshake: Option<Nanos>,
}

/// A stream of frames between two nodes.
#[derive(Debug)]
struct Peering {
    link: LinkId,
    ends: [End; 2],
    /// The two directions, by the end that sends.
    directions: [Direction; 2],
    /// Set if its link went down silently, so that no frame arrives any more.
    silent: bool,
}

/// An end of a peering.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) port: PortId,
    pub(super) open: bool,
}

/// The outcome of sending a frame.
pub(super) struct Transmission {
    pub(super) sent: Sent,
    /// Keepalives that were sent since the last count.
    pub(super) keepalives: u64,
}

/// The links and peerings of a network.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: Vec<Link>,
    peerings: Vec<Peering>,
}

impl Links {
    /// Adds a link that is down.
    pub(super) fn add(&mut self, ends: [NodeId; 2], options: LinkOptions) -> LinkId {
        let id = self.links.len() as LinkId;
        self.links.push(Link {
            ends,
            options,
            up: false,
            peering: None,
            handshake: None,
        });
        id
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.links.get(id as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    pub(super) fn set_options(&mut self, id: LinkId, options: LinkOptions) {
        if let Some(link) = self.links.get_mut(id as usize) {
            link.options = options;
        }
    }

    /// Marks a link as up or down. Returns whether that is a change.
    pub(super) fn set_up(&mut self, id: LinkId, up: bool) -> bool {
        let link = self.links.get_mut(id as usize);
        link.is_some_and(|link| std::mem::replace(&mut link.up, up) != up)
    }

    /// Begins a handshake `after` some time, if the link is up and has no peering. Returns the time
    /// at which it ends.
    pub(super) fn begin_handshake(
        &mut self,
        id: LinkId,
        now: Nanos,
        after: Nanos,
    ) -> Option<Nanos> {
        let link = self.links.get_mut(id as usize)?;
        if !link.up || link.peering.is_some() {
            return None;
        }
        link.handshake = Some(now + after + HANDSHAKE_TRIPS * link.options.latency);
        link.handshake
    }

    /// Ends the handshake that was to end now. Returns the nodes that are to become peers.
    pub(super) fn end_handshake(&mut self, id: LinkId, now: Nanos) -> Option<[NodeId; 2]> {
        let link = self.links.get_mut(id as usize)?;
        if link.handshake != Some(now) {
            return None;
        }
        link.handshake = None;
        (link.up && link.peering.is_none()).then_some(link.ends)
    }

    /// Opens a peering between the nodes of a link at these ports. Returns its number.
    pub(super) fn open(&mut self, id: LinkId, now: Nanos, ports: [PortId; 2]) -> Option<u32> {
        let link = self.links.get_mut(id as usize)?;
        let number = self.peerings.len() as u32;
        let end = |end: usize| End {
            node: link.ends[end],
            port: ports[end],
            open: true,
        };
        self.peerings.push(Peering {
            link: id,
            ends: [end(0), end(1)],
            directions: [Direction::new(now); 2],
            silent: false,
        });
        link.peering = Some(number);
        Some(number)
    }

    pub(super) fn end(&self, at: PeeringEnd) -> Option<&End> {
        self.peering(at)?.ends.get(usize::from(at.end))
    }

    pub(super) fn is_open(&self, at: PeeringEnd) -> bool {
        self.end(at).is_some_and(|end| end.open)
    }

    /// Reports whether frames of this peering no longer arrive. That is also true of a peering that
    /// never existed.
    pub(super) fn is_silent(&self, at: PeeringEnd) -> bool {
        self.peering(at).is_none_or(|peering| peering.silent)
    }

    /// Returns the node and the port at which a frame sent from this end would arrive.
    pub(super) fn far_end(&self, from: PeeringEnd) -> Result<(NodeId, PortId), Loss> {
        if self.is_silent(from) {
            return Err(Loss::LinkDown);
        }
        match self.end(from.other()) {
            Some(end) if end.open => Ok((end.node, end.port)),
            _ => Err(Loss::PeeringOver),
        }
    }

    /// Sends a frame of `len` bytes. Returns nothing if the link is silently down.
    pub(super) fn transmit(
        &mut self,
        from: PeeringEnd,
        now: Nanos,
        len: usize,
        class: Class,
        random: &mut Random,
    ) -> Option<Transmission> {
        let peering = self.peerings.get_mut(from.peering as usize)?;
        let link = self.links.get(peering.link as usize)?;
        if peering.silent {
            return None;
        }
        let direction = peering.directions.get_mut(usize::from(from.end))?;
        let keepalives = direction.count_keepalives(now);
        let sent = direction.send(now, len, class, &link.options, random);
        Some(Transmission { sent, keepalives })
    }

    /// Closes one end of a peering. Returns the end and the keepalives that it sent since the last
    /// count.
    pub(super) fn close(&mut self, at: PeeringEnd, now: Nanos) -> Option<(End, u64)> {
        let peering = self.peerings.get_mut(at.peering as usize)?;
        let number = usize::from(at.end);
        let keepalives = match peering.silent {
            true => 0,
            false => peering.directions.get_mut(number)?.count_keepalives(now),
        };
        let end = peering.ends.get_mut(number)?;
        end.open = false;
        Some((*end, keepalives))
    }

    /// Returns the link of a peering, and frees it for another peering if it is still this one's.
    pub(super) fn release(&mut self, at: PeeringEnd) -> Option<(LinkId, bool)> {
        let id = self.peering(at)?.link;
        let link = self.links.get_mut(id as usize)?;
        let held = link.peering == Some(at.peering);
        if held {
            link.peering = None;
        }
        Some((id, held))
    }

    /// Ends the handshake of a link without a peering, and frees it for another peering. Returns the
    /// number of the peering that it had.
    pub(super) fn interrupt(&mut self, id: LinkId) -> Option<u32> {
        let link = self.links.get_mut(id as usize)?;
        link.handshake = None;
        link.peering.take()
    }

    /// Lets nothing arrive any more over a peering. Returns its open ends and the time at which each of them notices,
    /// which is [`SILENCE`] after the last arrival.
    pub(super) fn silence(&mut self, number: u32, now: Nanos) -> Vec<(PeeringEnd, Nanos)> {
        let Some(peering) = self.peerings.get_mut(number as usize) else {
            return Vec::new();
        };
        let Some(link) = self.links.get(peering.link as usize) else {
            return Vec::new();
        };
        peering.silent = true;
        let ends = peering.ends.iter().zip([0, 1]).filter(|(end, _)| end.open);
        ends.map(|(_, end)| {
            let from_peer = &peering.directions[1 - usize::from(end)];
            let last = from_peer.last_arrival(now, &link.options).min(now);
            let at = PeeringEnd {
                peering: number,
                end,
            };
            (at, last + SILENCE)
        })
        .collect()
    }

    /// Returns the number of keepalives that idle peerings sent since they were last counted.
    pub(super) fn count_keepalives(&mut self, now: Nanos) -> u64 {
        let mut new = 0;
        for peering in self.peerings.iter_mut().filter(|peering| !peering.silent) {
            for (end, direction) in peering.ends.iter().zip(&mut peering.directions) {
                if end.open {
                    new += direction.count_keepalives(now);
                }
            }
        }
        new
    }

    fn peering(&self, at: PeeringEnd) -> Option<&Peering> {
        self.peerings.get(at.peering as usize)
    }
}
