//! Peerings: how they come about over links, and how they end.

use pinecone_controlplane::NewPeer;
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::frame::HEADER_LEN;
use pinecone_wire::timing::STATIC_PEER_INTERVAL;

use super::{Happening, How, Network};
use crate::ids::{LinkId, NodeId};
use crate::link::{Direction, LinkOptions, SILENCE};
use crate::node::PeeringEnd;
use crate::time::{self, Nanos};

/// Time after the end of a peering until it is dialled again.
const REDIAL: Nanos = time::nanos(STATIC_PEER_INTERVAL);
/// Trips over the link that connecting and shaking hands take.
const HANDSHAKE_TRIPS: u64 = 3;

/// What two nodes can have a peering over.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [NodeId; 2],
    pub(super) options: LinkOptions,
    pub(super) up: bool,
    /// The peering that both ends believe in.
    pub(super) peering: Option<u32>,
    /// When the one that is being dialled is ready.
    dialled: Option<Nanos>,
}

/// A stream of frames between two nodes.
#[derive(Debug)]
pub(super) struct Peering {
    pub(super) link: LinkId,
    pub(super) ends: [End; 2],
    /// By the end that sends.
    pub(super) ways: [Direction; 2],
    /// The link went down silently: nothing gets through any more.
    pub(super) dead: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) node: NodeId,
    pub(super) port: PortId,
    pub(super) open: bool,
}

impl Network {
    /// Links two nodes. They become peers when both are up.
    pub fn add_link(&mut self, a: NodeId, b: NodeId, options: LinkOptions) -> LinkId {
        let id = self.links.len() as LinkId;
        self.links.push(Link {
            ends: [a, b],
            options,
            up: false,
            peering: None,
            dialled: None,
        });
        for node in [a, b] {
            if let Some(node) = self.node_mut(node) {
                node.links.push(id);
            }
        }
        self.heal(id);
        id
    }

    /// Takes a link down.
    pub fn cut(&mut self, link: LinkId, how: How) {
        self.end_peering(link, how);
        if let Some(link) = self.links.get_mut(link as usize)
            && std::mem::take(&mut link.up)
        {
            self.changes += 1;
        }
    }

    /// Brings a link up again.
    pub fn heal(&mut self, link: LinkId) {
        if let Some(link) = self.links.get_mut(link as usize)
            && !std::mem::replace(&mut link.up, true)
        {
            self.changes += 1;
        }
        self.dial(link, 0);
    }

    /// Makes a link faster, slower or worse, from now on.
    pub fn set_link(&mut self, link: LinkId, options: LinkOptions) {
        if let Some(link) = self.links.get_mut(link as usize) {
            link.options = options;
        }
    }

    /// How many links there are, up or down.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// The two nodes that a link joins, and whether it is up.
    #[must_use]
    pub fn link(&self, link: LinkId) -> Option<(NodeId, NodeId, bool)> {
        let link = self.links.get(link as usize)?;
        Some((link.ends[0], link.ends[1], link.up))
    }

    /// What a link is like.
    #[must_use]
    pub fn link_options_of(&self, link: LinkId) -> Option<LinkOptions> {
        self.link_options(link)
    }

    /// All links that a node has an end of, up or down.
    #[must_use]
    pub fn links_of(&self, node: NodeId) -> &[LinkId] {
        self.node(node).map_or(&[], |node| &node.links)
    }

    /// The links that are up between nodes that are.
    pub fn live_links(&self) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        let live = |link: &&super::peerings::Link| {
            link.up && link.ends.iter().all(|&node| self.is_alive(node))
        };
        let links = self.links.iter().filter(live);
        links.map(|link| (link.ends[0], link.ends[1]))
    }

    /// Sets out to connect the two ends of a link, if they can be and are not.
    pub(super) fn dial(&mut self, id: LinkId, after: Nanos) {
        let now = self.now;
        let Some(link) = self.links.get(id as usize) else {
            return;
        };
        let alive = link.ends.iter().all(|&node| self.is_alive(node));
        if !link.up || !alive || link.peering.is_some() {
            return;
        }
        let ready = now + after + HANDSHAKE_TRIPS * link.options.latency;
        if let Some(link) = self.links.get_mut(id as usize) {
            link.dialled = Some(ready);
        }
        self.queue.push(ready, Happening::Connect(id));
    }

    /// The handshake over a link is done.
    pub(super) fn connect(&mut self, id: LinkId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id as usize) else {
            return;
        };
        if link.dialled != Some(now) {
            return;
        }
        link.dialled = None;
        let (nodes, up) = (link.ends, link.up && link.peering.is_none());
        if !up || !nodes.iter().all(|&node| self.is_alive(node)) {
            return;
        }
        let peering = self.peerings.len() as u32;
        let at = time::now(now);
        let keys = nodes.map(|node| self.key(node));
        let mut ports = [PortId::LOCAL; 2];
        for end in 0..2 {
            let peer = NewPeer {
                key: keys[1 - end],
                link: LinkType::Remote,
                extensions: self.options.config.extensions(),
            };
            let taken = self
                .node_mut(nodes[end])
                .map(|node| node.plane.connect(at, peer));
            match taken {
                Some(Ok(port)) => ports[end] = port,
                _ => {
                    if end == 1
                        && let Some(node) = self.node_mut(nodes[0])
                    {
                        node.plane.closed(at, ports[0]);
                        self.settle(nodes[0]);
                    }
                    return;
                }
            }
        }
        let end = |end: usize| End {
            node: nodes[end],
            port: ports[end],
            open: true,
        };
        self.peerings.push(Peering {
            link: id,
            ends: [end(0), end(1)],
            ways: [Direction::new(now); 2],
            dead: false,
        });
        self.counts.peerings += 1;
        if let Some(link) = self.links.get_mut(id as usize) {
            link.peering = Some(peering);
        }
        for end in 0..2u8 {
            let (node, port) = (nodes[usize::from(end)], ports[usize::from(end)]);
            if let Some(node) = self.node_mut(node) {
                node.set_port(port, Some(PeeringEnd { peering, end }));
            }
        }
        // Both ends must know each other before the first frame is sent.
        for node in nodes {
            self.settle(node);
        }
    }

    /// The peering over a link ends because the link or one of its nodes goes down.
    pub(super) fn end_peering(&mut self, id: LinkId, how: How) {
        let now = self.now;
        let Some(link) = self.links.get_mut(id as usize) else {
            return;
        };
        link.dialled = None;
        let Some(number) = link.peering.take() else {
            return;
        };
        let options = link.options;
        let Some(peering) = self.peerings.get_mut(number as usize) else {
            return;
        };
        match how {
            How::Closed => {
                for end in 0..2 {
                    let at = PeeringEnd {
                        peering: number,
                        end,
                    };
                    self.close_quietly(at);
                }
            }
            How::Silent => {
                peering.dead = true;
                for end in 0..2u8 {
                    if !peering.ends[usize::from(end)].open {
                        continue;
                    }
                    let way = &peering.ways[1 - usize::from(end)];
                    let last = way.last_arrival(now, &options).min(now);
                    let at = PeeringEnd {
                        peering: number,
                        end,
                    };
                    let timed_out = true;
                    self.queue
                        .push(last + SILENCE, Happening::Close { at, timed_out });
                }
            }
        }
    }

    /// One end finds out that its peering is over.
    pub(super) fn close(&mut self, at: PeeringEnd, timed_out: bool) {
        if !self.is_open(at) {
            return;
        }
        if timed_out {
            self.counts.peerings_timed_out += 1;
        }
        self.close_end(at);
        if let Some(node) = self.end(at).map(|end| end.node) {
            self.settle(node);
        }
    }

    /// Closes one end, whose control plane is settled by the caller. The other end hears of it,
    /// and the link is dialled again after a while.
    pub(super) fn close_end(&mut self, at: PeeringEnd) {
        if !self.is_open(at) {
            return;
        }
        self.forget_end(at);
        let Some(peering) = self.peerings.get(at.peering as usize) else {
            return;
        };
        let (id, dead) = (peering.link, peering.dead);
        let Some(options) = self.link_options(id) else {
            return;
        };
        if !dead {
            let other = PeeringEnd {
                end: 1 - at.end,
                ..at
            };
            let told = Happening::Close {
                at: other,
                timed_out: false,
            };
            self.queue.push(self.now + options.latency, told);
        }
        if let Some(link) = self.links.get_mut(id as usize)
            && link.peering == Some(at.peering)
        {
            link.peering = None;
            self.dial(id, REDIAL);
        }
    }

    pub(super) fn is_open(&self, at: PeeringEnd) -> bool {
        self.end(at).is_some_and(|end| end.open)
    }

    pub(super) fn end(&self, at: PeeringEnd) -> Option<&End> {
        let peering = self.peerings.get(at.peering as usize)?;
        peering.ends.get(usize::from(at.end))
    }

    /// Adds the keepalives that went out over idle peerings since they were last counted.
    pub(super) fn count_keepalives(&mut self) {
        let now = self.now;
        let mut new = 0;
        for peering in self.peerings.iter_mut().filter(|peering| !peering.dead) {
            for (end, way) in peering.ends.iter().zip(&mut peering.ways) {
                if end.open {
                    new += way.count_keepalives(now);
                }
            }
        }
        self.add_keepalives(new);
    }

    pub(super) fn add_keepalives(&mut self, new: u64) {
        self.counts.keepalives.frames += new;
        self.counts.keepalives.bytes += new * HEADER_LEN as u64;
    }

    /// Closes one end without a word to the other.
    fn close_quietly(&mut self, at: PeeringEnd) {
        if self.is_open(at) {
            self.forget_end(at);
            if let Some(node) = self.end(at).map(|end| end.node) {
                self.settle(node);
            }
        }
    }

    /// As far as one end is concerned, the peering is over.
    pub(super) fn forget_end(&mut self, at: PeeringEnd) {
        let now = self.now;
        let Some(peering) = self.peerings.get_mut(at.peering as usize) else {
            return;
        };
        let way = usize::from(at.end);
        let keepalives = match peering.dead {
            false => peering.ways[way].count_keepalives(now),
            true => 0,
        };
        let end = &mut peering.ends[way];
        end.open = false;
        let (node, port) = (end.node, end.port);
        self.add_keepalives(keepalives);
        if let Some(node) = self.node_mut(node)
            && node.alive
        {
            node.set_port(port, None);
            node.plane.closed(time::now(now), port);
        }
    }
}
