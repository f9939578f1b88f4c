//! Wakeup broadcasts (protocol section 8).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::timing::{BROADCAST_MEMORY, BROADCAST_MIN_GAP};
use pinecone_wire::{PublicKey, SignedBody, frame};

use crate::Event;
use crate::broadcast_budget::BroadcastBudget;
use crate::context::Context;
use crate::position::Position;
use crate::sequences::OwnSequences;

/// The hop limit with which a deployed node's broadcast starts. No broadcast travels further, whatever its hop limit.
const HOP_LIMIT: u8 = 5;
/// Minimum hop limit with which a broadcast is sent to every peer. With a lower one it is sent only to neighbours in
/// the tree.
const FLOOD_LIMIT: u8 = 4;

/// Recent broadcasts of others, and this node's own.
#[derive(Default)]
pub(crate) struct Broadcasts {
    by_key: HashMap<PublicKey, Seen>,
    /// The keys in order of expiry. An entry is live only while `by_key` agrees with it.
    queue: VecDeque<(Duration, PublicKey)>,
    /// Number of keys for each peering (by its serial number) that brought them.
    by_peering: BTreeMap<u64, usize>,
    sequences: OwnSequences,
    budget: BroadcastBudget,
}

/// The last broadcast of a key.
#[derive(Clone, Copy)]
struct Seen {
    sequence: u64,
    at: Duration,
    peering: u64,
}

impl Broadcasts {
    /// Reports whether a broadcast will be accepted if its signature is good. `peering` is the serial number of the
    /// peering that brought it.
    pub(crate) fn admit(
        &mut self,
        cx: &mut Context,
        position: &Position,
        peering: u64,
        key: &PublicKey,
        body: &SignedBody,
    ) -> bool {
        if *key == cx.own {
            cx.counters.broadcasts_own += 1;
            if cx.is_own_body_elsewhere(body, self.sequences.highest()) {
                cx.counters.broadcasts_own_elsewhere += 1;
            }
            return false;
        }
        if !position.has_root_of(body) {
            cx.counters.broadcasts_other_root += 1;
            return false;
        }
        if cx.excessive_lead(body.sequence).is_some() {
            cx.counters.broadcasts_future += 1;
            return false;
        }
        let now = cx.now.monotonic;
        match self.by_key.get(key) {
            Some(seen) if now < seen.at + BROADCAST_MEMORY => {
                let fresh = body.sequence > seen.sequence && now >= seen.at + BROADCAST_MIN_GAP;
                cx.counters.broadcasts_repeated += u64::from(!fresh);
                fresh
            }
            _ => {
                let brought = self.by_peering.get(&peering).copied().unwrap_or(0);
                let fits = self.by_key.len() < cx.config.max_broadcast_keys
                    && brought < cx.config.max_broadcast_keys_per_peer;
                cx.counters.broadcasts_refused += u64::from(!fits);
                fits
            }
        }
    }

    /// Handles a broadcast that was admitted and whose signature is good.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Context,
        position: &Position,
        port: PortId,
        (extra, hop_limit): (u8, u8),
        key: PublicKey,
        body: &SignedBody,
    ) {
        let Some(peer) = cx.peers.get(port) else {
            return;
        };
        let (peer_key, peering) = (peer.key, peer.serial);
        // Another copy of it may have been accepted since it was admitted.
        if !self.admit(cx, position, peering, &key, body) {
            return;
        }
        self.remember(
            key,
            Seen {
                sequence: body.sequence,
                at: cx.now.monotonic,
                peering,
            },
        );
        cx.effects.event(Event::Broadcast {
            key,
            sequence: body.sequence,
            root: body.root,
            root_sequence: body.root_sequence,
            port,
        });
        if hop_limit <= 1 {
            return;
        }
        let lowered = hop_limit.min(HOP_LIMIT) - 1;
        let mut frame = Vec::new();
        let pushed = frame::push_broadcast(&mut frame, (extra, lowered), &key, &body.encode());
        if pushed.is_err() {
            cx.counters.frames_too_long += 1;
            return;
        }
        let ports = flood_ports(cx, position, Some(peer_key), lowered);
        if ports.is_empty() {
            return;
        }
        let limit = cx.config.max_broadcasts_forwarded;
        if !self.budget.take(cx.now.monotonic, key, limit) {
            cx.counters.broadcasts_held_back += 1;
            return;
        }
        for port in ports {
            cx.counters.broadcasts_forwarded += 1;
            cx.effects.send(port, frame.clone());
        }
    }

    /// Sends a broadcast of this node to all peers.
    pub(crate) fn send_to_all(&mut self, cx: &mut Context, position: &Position) {
        if !cx.config.wakeup_broadcasts {
            return;
        }
        if let Some(frame) = self.make(cx, position) {
            for port in flood_ports(cx, position, None, HOP_LIMIT) {
                cx.counters.broadcasts_sent += 1;
                cx.effects.send(port, frame.clone());
            }
        }
    }

    /// Sends a broadcast of this node to one peer, which has just announced itself.
    pub(crate) fn send_to(&mut self, cx: &mut Context, position: &Position, port: PortId) {
        if !cx.config.wakeup_broadcasts {
            return;
        }
        if let Some(frame) = self.make(cx, position) {
            cx.counters.broadcasts_sent += 1;
            cx.effects.send(port, frame);
        }
    }

    /// Removes expired entries.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(&(at, key)) = self.queue.front()
            && at + BROADCAST_MEMORY <= now
        {
            self.queue.pop_front();
            if let Some(seen) = self.by_key.get(&key).copied()
                && seen.at == at
            {
                self.by_key.remove(&key);
                self.uncount(seen.peering);
            }
        }
    }

    /// Stops counting the keys of a peering that has ended. Their broadcasts are still remembered.
    pub(crate) fn forget_peering(&mut self, peering: u64) {
        self.by_peering.remove(&peering);
    }

    /// Makes a broadcast of this node.
    fn make(&mut self, cx: &mut Context, position: &Position) -> Option<Vec<u8>> {
        let sequence = self.sequences.next(cx);
        let body = cx.sign_body(sequence, position);
        let mut frame = Vec::new();
        let hops = cx.config.wakeup_hops.clamp(1, HOP_LIMIT);
        frame::push_broadcast(&mut frame, (0, hops), &cx.own, &body.encode()).ok()?;
        Some(frame)
    }

    fn remember(&mut self, key: PublicKey, seen: Seen) {
        if let Some(before) = self.by_key.insert(key, seen) {
            self.uncount(before.peering);
        }
        *self.by_peering.entry(seen.peering).or_default() += 1;
        self.queue.push_back((seen.at, key));
    }

    fn uncount(&mut self, peering: u64) {
        if let Some(count) = self.by_peering.get_mut(&peering) {
            *count -= 1;
            if *count == 0 {
                self.by_peering.remove(&peering);
            }
        }
    }
}

/// Returns the ports to which a broadcast is sent: one for each peer key, except `from`.
fn flood_ports(
    cx: &mut Context,
    position: &Position,
    from: Option<PublicKey>,
    hop_limit: u8,
) -> Vec<PortId> {
    let preferred = cx.peers.preferred().to_vec();
    let ours = &position.coordinates;
    let goes_to = |port: &PortId| {
        let Some(peer) = cx.peers.get(*port) else {
            return false;
        };
        let is_near = || {
            let announced = cx.rib.announced(*port);
            announced.is_some_and(|theirs| ours.distance(&theirs.peer_coordinates) == 1)
        };
        from != Some(peer.key) && (hop_limit >= FLOOD_LIMIT || is_near())
    };
    preferred.into_iter().filter(goes_to).collect()
}
