//! Wakeup broadcasts (protocol section 8).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::timing::{BROADCAST_MEMORY, BROADCAST_MIN_GAP};
use pinecone_wire::{PublicKey, SignedBody, frame};
use tracing::debug;

use crate::broadcast_budget::BroadcastBudget;
use crate::{CloseReason, ControlPlane, Event};

/// The hop limit that a deployed node's broadcast starts with. None travels further, whatever a peer
/// writes.
const HOP_LIMIT: u8 = 5;
/// Down to this limit a broadcast goes to every peer, below it only to neighbours in the tree.
const FLOOD_LIMIT: u8 = 4;

/// The broadcasts seen of late.
#[derive(Default)]
pub(crate) struct Broadcasts {
    by_key: HashMap<PublicKey, Seen>,
    /// In order of forgetting; an entry counts only while `by_key` agrees with it.
    queue: VecDeque<(Duration, PublicKey)>,
    /// Keys by the peering (its serial number) that brought them.
    by_peering: BTreeMap<u64, usize>,
    last_sequence: u64,
    highest_sequence: u64,
    budget: BroadcastBudget,
}

#[derive(Clone, Copy)]
struct Seen {
    sequence: u64,
    at: Duration,
    peering: u64,
}

impl Broadcasts {
    /// Forgets what is old.
    pub(crate) fn forget(&mut self, now: Duration) {
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

    /// A peering is gone: what it brought is remembered, on nobody's account.
    pub(crate) fn forget_peering(&mut self, peering: u64) {
        self.by_peering.remove(&peering);
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

impl ControlPlane {
    /// A broadcast that is well signed.
    pub(crate) fn handle_broadcast(
        &mut self,
        port: PortId,
        (extra, hop_limit): (u8, u8),
        key: PublicKey,
        body: &SignedBody,
    ) {
        let Some(peer) = self.peers.get(port) else {
            return;
        };
        let (peer_key, peering) = (peer.key, peer.serial);
        // Another copy of it may have been taken since it was admitted.
        if !self.admit_broadcast(peering, &key, body) {
            return;
        }
        self.broadcasts.remember(
            key,
            Seen {
                sequence: body.sequence,
                at: self.now.monotonic,
                peering,
            },
        );
        self.event(Event::Broadcast {
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
            self.counters.frames_too_long += 1;
            return;
        }
        let ports = self.flood_ports(Some(peer_key), lowered);
        if ports.is_empty() {
            return;
        }
        let (now, limit) = (self.now.monotonic, self.config.max_broadcasts_forwarded);
        if !self.broadcasts.budget.take(now, key, limit) {
            self.counters.broadcasts_held_back += 1;
            return;
        }
        for port in ports {
            self.counters.broadcasts_forwarded += 1;
            self.send(port, frame.clone());
        }
    }

    /// Our own, to all peers.
    pub(crate) fn broadcast_to_all(&mut self) {
        if !self.config.wakeup_broadcasts {
            return;
        }
        if let Some(frame) = self.own_broadcast() {
            for port in self.flood_ports(None, HOP_LIMIT) {
                self.counters.broadcasts_sent += 1;
                self.send(port, frame.clone());
            }
        }
    }

    /// Our own, to a peer that just announced itself.
    pub(crate) fn broadcast_to(&mut self, port: PortId) {
        if !self.config.wakeup_broadcasts {
            return;
        }
        if let Some(frame) = self.own_broadcast() {
            self.counters.broadcasts_sent += 1;
            self.send(port, frame);
        }
    }

    fn own_broadcast(&mut self) -> Option<Vec<u8>> {
        let sequence = self.sequence_after(self.broadcasts.last_sequence);
        self.broadcasts.last_sequence = sequence;
        self.broadcasts.highest_sequence = self.broadcasts.highest_sequence.max(sequence);
        self.own_key.sent(sequence);
        let position = self.tree.position();
        self.counters.signatures_made += 1;
        let body = self
            .signer
            .sign_body(sequence, position.root, position.root_sequence);
        let mut frame = Vec::new();
        let hops = self.config.wakeup_hops.clamp(1, HOP_LIMIT);
        frame::push_broadcast(&mut frame, (0, hops), &self.own, &body.encode()).ok()?;
        Some(frame)
    }

    /// Whether a broadcast would be taken if its signature verifies.
    pub(crate) fn admit_broadcast(
        &mut self,
        peering: u64,
        key: &PublicKey,
        body: &SignedBody,
    ) -> bool {
        if *key == self.own {
            self.counters.broadcasts_own += 1;
            if self.is_own_body_elsewhere(body, self.broadcasts.highest_sequence) {
                self.counters.broadcasts_own_elsewhere += 1;
            }
            return false;
        }
        let position = self.tree.position();
        if (body.root, body.root_sequence) != (position.root, position.root_sequence) {
            self.counters.broadcasts_other_root += 1;
            return false;
        }
        if self.excessive_lead(body.sequence).is_some() {
            self.counters.broadcasts_future += 1;
            return false;
        }
        let (counters, config) = (&mut self.counters, &self.config);
        let now = self.now.monotonic;
        match self.broadcasts.by_key.get(key) {
            Some(seen) if now < seen.at + BROADCAST_MEMORY => {
                let fresh = body.sequence > seen.sequence && now >= seen.at + BROADCAST_MIN_GAP;
                counters.broadcasts_repeated += u64::from(!fresh);
                fresh
            }
            _ => {
                let known = &self.broadcasts;
                let brought = known.by_peering.get(&peering).copied().unwrap_or(0);
                let fits = known.by_key.len() < config.max_broadcast_keys
                    && brought < config.max_broadcast_keys_per_peer;
                counters.broadcasts_refused += u64::from(!fits);
                fits
            }
        }
    }

    /// A badly signed broadcast is dropped: the peer may only have passed it on. One that brings
    /// many is closed.
    pub(crate) fn count_offence(&mut self, port: PortId) {
        self.counters.broadcasts_bad_signature += 1;
        debug!(%port, "badly signed broadcast dropped");
        let now = self.now.monotonic;
        let (limit, window) = (self.config.max_offences, self.config.offence_window);
        let Some(peer) = self.peers.get_mut(port) else {
            return;
        };
        while peer.offences.front().is_some_and(|at| *at + window <= now) {
            peer.offences.pop_front();
        }
        peer.offences.push_back(now);
        let count = peer.offences.len();
        if count >= limit {
            self.close(port, CloseReason::Offences { count, window });
        }
    }

    /// Where a broadcast goes: one peering for each key but the one it came from.
    fn flood_ports(&mut self, from: Option<PublicKey>, hop_limit: u8) -> Vec<PortId> {
        let preferred = self.peers.preferred().to_vec();
        let ours = &self.tree.position().coordinates;
        let goes_to = |port: &PortId| {
            let Some(peer) = self.peers.get(*port) else {
                return false;
            };
            let is_near = || {
                let announced = self.rib.announced(*port);
                announced.is_some_and(|theirs| ours.distance(&theirs.peer_coordinates) == 1)
            };
            from != Some(peer.key) && (hop_limit >= FLOOD_LIMIT || is_near())
        };
        preferred.into_iter().filter(goes_to).collect()
    }
}
