//! Which port leads to each key that live peers announce: the ties of protocol section 6, steps 3
//! to 5 and 7, resolved before anyone asks.

use std::collections::BTreeSet;

use pinecone_wire::PublicKey;

use super::PeerEntry;
use crate::{LinkType, PortId};

/// Every announced way to every near key.
#[derive(Debug, Default)]
pub(super) struct NearKeys {
    /// By key, best first. One set, as most keys have a single claim.
    claims: BTreeSet<(PublicKey, Claim)>,
}

/// One peering's way to a key. The order of fields is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    kind: ClaimKind,
    /// Steps up from the peer to the key in its announcement.
    steps: u32,
    link: LinkType,
    order: u64,
    port: PortId,
}

impl Claim {
    /// No claim comes before this one.
    const FIRST: Self = Self {
        kind: ClaimKind::Direct,
        steps: 0,
        link: LinkType::Pipe,
        order: 0,
        port: PortId(0),
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ClaimKind {
    /// The peer has that key.
    Direct,
    /// The parent announced it.
    Parent,
    /// Another peer announced it.
    Announced,
}

impl NearKeys {
    /// The best port for `key`.
    pub(super) fn port(&self, key: &PublicKey) -> Option<PortId> {
        Some(self.best(key)?.port)
    }

    /// The ports that lead to `key`, best first.
    pub(super) fn ports(&self, key: &PublicKey) -> impl Iterator<Item = PortId> {
        self.of(key).map(|claim| claim.port)
    }

    /// The best peering with the node that has `key`.
    pub(super) fn direct(&self, key: &PublicKey) -> Option<PortId> {
        let best = self.best(key)?;
        (best.kind == ClaimKind::Direct).then_some(best.port)
    }

    fn best(&self, key: &PublicKey) -> Option<&Claim> {
        self.of(key).next()
    }

    /// The claims to `key`, best first.
    fn of(&self, key: &PublicKey) -> impl Iterator<Item = &Claim> {
        let key = *key;
        let from = self.claims.range((key, Claim::FIRST)..);
        from.take_while(move |(of, _)| *of == key)
            .map(|(_, claim)| claim)
    }

    /// Adds what `peer` announced, if it did, and appends the keys that have a new best claim to
    /// `touched`.
    pub(super) fn add(
        &mut self,
        port: PortId,
        peer: &PeerEntry,
        parent: bool,
        touched: &mut Vec<PublicKey>,
    ) {
        for (key, claim) in claims(port, peer, parent) {
            if self.best(&key).is_none_or(|best| claim < *best) {
                touched.push(key);
            }
            self.claims.insert((key, claim));
        }
    }

    /// Takes out what [`Self::add`] added with the same arguments.
    pub(super) fn remove(
        &mut self,
        port: PortId,
        peer: &PeerEntry,
        parent: bool,
        touched: &mut Vec<PublicKey>,
    ) {
        for (key, claim) in claims(port, peer, parent) {
            if self.best(&key) == Some(&claim) {
                touched.push(key);
            }
            self.claims.remove(&(key, claim));
        }
    }
}

/// The keys that a peering leads to, each once.
fn claims(port: PortId, peer: &PeerEntry, parent: bool) -> Vec<(PublicKey, Claim)> {
    let Some(announcement) = &peer.announcement else {
        return Vec::new();
    };
    let claim = |key, steps| {
        let kind = match (key == peer.key, parent) {
            (true, _) => ClaimKind::Direct,
            (false, true) => ClaimKind::Parent,
            (false, false) => ClaimKind::Announced,
        };
        let order = announcement.order;
        let link = peer.link;
        let claim = Claim {
            kind,
            steps,
            link,
            order,
            port,
        };
        (key, claim)
    };
    let signers = announcement.signers.iter().rev().enumerate();
    let mut all: Vec<_> = signers.map(|(steps, s)| claim(s.1, steps as u32)).collect();
    // A link to the key itself is as good as any other of its type, whatever it announced.
    all.iter_mut()
        .filter(|(_, claim)| claim.kind == ClaimKind::Direct)
        .for_each(|(_, claim)| claim.steps = 0);
    all.sort_unstable();
    all.dedup_by_key(|(key, _)| *key);
    all
}
