//! The forwarding decision about a traffic frame (protocol section 7).
//!
//! A worker decides about a batch of frames in two steps, so that the cache misses of their lookups
//! overlap: [`Snapshot::classify`] for each frame, one [`Snapshot::find`] for all, then
//! [`Snapshot::decide_class`] for each. [`Snapshot::forward_frame`] decides about a single frame.

use arrayvec::ArrayVec;
use pinecone_wire::{Patch, PublicKey, TrafficLayout, Watermark, ping, traffic};

use crate::decision::Decision;
use crate::hop::NextHop;
use crate::index::search::BATCH;
use crate::port::PortId;
use crate::rescue::Rescue;
use crate::snapshot::{Forward, Snapshot, SnekBatch};

/// The destination keys of a batch of frames, to be looked up.
pub type Destinations = ArrayVec<PublicKey, BATCH>;

/// The options of a node that affect forwarding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardingOptions {
    /// Set if frames are dropped when their hop limit is used up.
    pub hop_limiting: bool,
}

/// A traffic frame in transit.
#[derive(Clone, Copy, Debug)]
pub struct Transit {
    /// The port that the frame came from; [`PortId::LOCAL`] for a frame that this node sends.
    pub ingress: PortId,
    /// The layout of the frame.
    pub layout: TrafficLayout,
    /// The sequence of the frame's watermark.
    pub sequence: u64,
}

/// The class of a frame, known before any lookup by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The frame is for this node.
    Local,
    /// The frame's coordinates lead out of this port.
    Tree(PortId),
    /// The lookup of the destination at this index decides.
    Snek(u32),
}

/// The fate of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The frame is for this node.
    Deliver,
    /// The frame is sent out of a port, and has been patched in place.
    Forward {
        /// The port that the frame is sent out of.
        egress: PortId,
        /// The offset of the patched frame in the old one. Not 0 if the frame has become shorter.
        start: usize,
        /// The rule without which the frame would have been dropped.
        rescue: Option<Rescue>,
    },
    /// The frame is sent out of a port. Its head has grown and must be sent before the payload.
    Rewritten {
        /// The port that the frame is sent out of.
        egress: PortId,
        /// The rule without which the frame would have been dropped.
        rescue: Option<Rescue>,
    },
    /// The frame is dropped.
    Drop(Undeliverable),
}

/// The reason why a frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undeliverable {
    /// The node knows no next hop towards the destination.
    NoRoute,
    /// The next hop is the port that the frame came from.
    Backwards,
    /// The frame has been closer to its destination than this node is.
    Watermark,
    /// The frame's hop limit is used up.
    HopLimit,
    /// The new watermark would make the frame longer than the protocol allows.
    TooLong,
}

impl Snapshot {
    /// Classifies a frame. A destination that must be looked up by key is appended to `lookups`, unless it
    /// is already the last one there.
    #[inline(always)]
    pub fn classify(
        &self,
        frame: &[u8],
        layout: &TrafficLayout,
        ingress: PortId,
        lookups: &mut Destinations,
    ) -> Class {
        let destination = layout.destination_key(frame);
        if destination == self.own {
            return Class::Local;
        }
        if layout.has_destination()
            && let NextHop::Port(port) = self.tree(ingress, layout.destination(frame))
        {
            return Class::Tree(port);
        }
        if lookups.last() != Some(&destination) {
            lookups.push(destination);
        }
        Class::Snek(lookups.len() as u32 - 1)
    }

    /// Decides about a frame whose class is known, and patches the frame. The new head of a frame that grows
    /// is left in `head`.
    #[inline(always)]
    pub fn decide_class<'a>(
        &'a self,
        class: Class,
        (lookups, found): (&Destinations, &SnekBatch<'a>),
        frame: &mut [u8],
        transit: &Transit,
        options: ForwardingOptions,
        head: &mut Vec<u8>,
    ) -> Fate {
        let Transit {
            ingress,
            ref layout,
            sequence,
        } = *transit;
        match class {
            Class::Local => Fate::Deliver,
            Class::Tree(egress) => match pass_on(ingress, frame, layout, options) {
                Ok(()) => Fate::Forward {
                    egress,
                    start: 0,
                    rescue: None,
                },
                Err(reason) => Fate::Drop(reason),
            },
            Class::Snek(at) => {
                let at = at as usize;
                let Some(destination) = lookups.get(at) else {
                    return Fate::Drop(Undeliverable::NoRoute);
                };
                let before = layout.watermark_with(frame, sequence);
                // If the coordinates have led to a dead end, the route by key may lead back to the ingress.
                let from = match layout.has_destination() {
                    true => PortId::LOCAL,
                    false => ingress,
                };
                let hop = self.forward_key(found, at, from, destination, &before);
                match hop.decision {
                    Decision::Send(egress) => match pass_on(ingress, frame, layout, options) {
                        Ok(()) => patch(egress, frame, layout, &hop, &before, None, head),
                        Err(reason) => Fate::Drop(reason),
                    },
                    Decision::Deliver => Fate::Deliver,
                    Decision::DeadEnd => Fate::Drop(Undeliverable::NoRoute),
                    Decision::DropBackwards | Decision::DropWatermark => {
                        let dropped = match hop.decision {
                            Decision::DropBackwards => Undeliverable::Backwards,
                            _ => Undeliverable::Watermark,
                        };
                        self.rescue_frame(
                            (from, destination, &before),
                            frame,
                            transit,
                            options,
                            head,
                        )
                        .unwrap_or(Fate::Drop(dropped))
                    }
                }
            }
        }
    }

    /// Looks for another next hop for a frame that would be dropped. Kept out of the code that all frames
    /// pass through.
    #[cold]
    #[inline(never)]
    fn rescue_frame(
        &self,
        (from, destination, before): (PortId, &PublicKey, &Watermark),
        frame: &mut [u8],
        transit: &Transit,
        options: ForwardingOptions,
        head: &mut Vec<u8>,
    ) -> Option<Fate> {
        let (rescue, hop) = self.rescue(from, destination, before)?;
        let Decision::Send(egress) = hop.decision else {
            return None;
        };
        let layout = &transit.layout;
        Some(match pass_on(transit.ingress, frame, layout, options) {
            Ok(()) => patch(egress, frame, layout, &hop, before, Some(rescue), head),
            Err(reason) => Fate::Drop(reason),
        })
    }

    /// Decides about a single frame, and patches it, as [`Self::decide_class`] does.
    pub fn forward_frame(
        &self,
        frame: &mut [u8],
        transit: &Transit,
        options: ForwardingOptions,
        head: &mut Vec<u8>,
    ) -> Fate {
        let mut lookups = Destinations::new();
        let class = self.classify(frame, &transit.layout, transit.ingress, &mut lookups);
        let found = self.find(&lookups);
        self.decide_class(class, (&lookups, &found), frame, transit, options, head)
    }
}

/// Counts the hop of a frame that comes from a peer.
#[inline(always)]
fn pass_on(
    ingress: PortId,
    frame: &mut [u8],
    layout: &TrafficLayout,
    options: ForwardingOptions,
) -> Result<(), Undeliverable> {
    if ingress == PortId::LOCAL {
        return Ok(());
    }
    if options.hop_limiting {
        let limit = traffic::hop_limit(frame);
        if limit <= 1 {
            return Err(Undeliverable::HopLimit);
        }
        traffic::set_hop_limit(frame, limit - 1);
    }
    if let Some(payload) = frame.get_mut(layout.payload_range()) {
        ping::count_hop(payload);
    }
    Ok(())
}

/// Writes the new watermark into a frame that is forwarded. If the frame grows, its new head is written into `head`.
#[inline(always)]
fn patch(
    egress: PortId,
    frame: &mut [u8],
    layout: &TrafficLayout,
    hop: &Forward<'_>,
    before: &Watermark,
    rescue: Option<Rescue>,
    head: &mut Vec<u8>,
) -> Fate {
    // On a path that has been set up, the watermark is the same at every node.
    if hop.sequence == before.sequence && *hop.key == before.key && !layout.has_destination() {
        return Fate::Forward {
            egress,
            start: 0,
            rescue,
        };
    }
    let watermark = Watermark {
        key: *hop.key,
        sequence: hop.sequence,
    };
    match layout.patch_snek(frame, &watermark) {
        Ok(Patch::InPlace { start }) => Fate::Forward {
            egress,
            start,
            rescue,
        },
        Ok(Patch::Grows { by }) => {
            head.resize(layout.payload_range().start + by, 0);
            match layout.write_snek_head(frame, &watermark, head) {
                Ok(len) => {
                    head.truncate(len);
                    Fate::Rewritten { egress, rescue }
                }
                Err(_) => Fate::Drop(Undeliverable::TooLong),
            }
        }
        Err(_) => Fate::Drop(Undeliverable::TooLong),
    }
}
