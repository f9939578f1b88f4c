//! The selection of a port for each key that live peers have or announced: steps 3 to 5 and 7 of
//! protocol section 6.

use std::collections::BTreeSet;
use std::ops::Bound;

use pinecone_fib::{LinkType, PortId};
use pinecone_wire::PublicKey;

use super::adjacency::Adjacency;

/// The claims of peers to lead to a key. A key with a claim is near.
#[derive(Debug, Default)]
pub(super) struct NearKeys {
    /// The claims to each key, best first. One set, as most keys have a single claim.
    claims: BTreeSet<(PublicKey, Claim)>,
}

/// The claim of one peering to lead to a key. The order of the fields is the order of preference.
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
    /// Sorts before every claim.
    const FIRST: Self = Self {
        kind: ClaimKind::Direct,
        steps: 0,
        link: LinkType::Pipe,
        order: 0,
        port: PortId(0),
    };

    /// Sorts after every claim.
    const LAST: Self = Self {
        kind: ClaimKind::Announced,
        steps: u32::MAX,
        link: LinkType::Bluetooth,
        order: u64::MAX,
        port: PortId(u32::MAX),
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
    /// Returns the best port towards `key`.
    pub(super) fn port(&self, key: &PublicKey) -> Option<PortId> {
        Some(self.best(key)?.port)
    }

    /// Returns the ports that lead to `key`, best first.
    pub(super) fn ports(&self, key: PublicKey) -> impl Iterator<Item = PortId> {
        self.claims_to(key).map(|claim| claim.port)
    }

    /// Returns the port of the best peering with the node that has `key`.
    pub(super) fn direct(&self, key: &PublicKey) -> Option<PortId> {
        let best = self.best(key)?;
        (best.kind == ClaimKind::Direct).then_some(best.port)
    }

    /// Returns the ports of all peerings with the node that has `key`, best first.
    pub(super) fn all_direct(&self, key: PublicKey) -> impl Iterator<Item = PortId> {
        let direct = |claim: &&Claim| claim.kind == ClaimKind::Direct;
        let claims = self.claims_to(key).take_while(direct);
        claims.map(|claim| claim.port)
    }

    /// Returns the lowest near key above `key`, and its best port.
    pub(super) fn above(&self, key: &PublicKey) -> Option<(PublicKey, PortId)> {
        let behind = (Bound::Excluded((*key, Claim::LAST)), Bound::Unbounded);
        let (key, claim) = self.claims.range(behind).next()?;
        Some((*key, claim.port))
    }

    fn best(&self, key: &PublicKey) -> Option<&Claim> {
        self.claims_to(*key).next()
    }

    /// Returns the claims to `key`, best first.
    fn claims_to(&self, key: PublicKey) -> impl Iterator<Item = &Claim> {
        let from = self.claims.range((key, Claim::FIRST)..);
        from.take_while(move |(of, _)| *of == key)
            .map(|(_, claim)| claim)
    }

    /// Adds the claims of a peer, and appends the keys that have a new best claim to `touched`.
    /// `parent` tells whether it is the parent.
    pub(super) fn add(
        &mut self,
        port: PortId,
        peer: &Adjacency,
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

    /// Removes the claims that [`Self::add`] added with the same arguments, and appends the keys whose
    /// best claim is gone to `touched`.
    pub(super) fn remove(
        &mut self,
        port: PortId,
        peer: &Adjacency,
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

/// Returns the claims of a peer, one for each key.
fn claims(port: PortId, peer: &Adjacency, parent: bool) -> Vec<(PublicKey, Claim)> {
    let claim = |key, steps| {
        let kind = match (key == peer.key, parent) {
            (true, _) => ClaimKind::Direct,
            (false, true) => ClaimKind::Parent,
            (false, false) => ClaimKind::Announced,
        };
        let claim = Claim {
            kind,
            steps,
            link: peer.link,
            order: peer.announced.order,
            port,
        };
        (key, claim)
    };
    let signers = peer.announced.announcement.entries().iter().rev();
    let mut all: Vec<_> = (0..)
        .zip(signers)
        .map(|(steps, signer)| claim(signer.key, steps))
        .collect();
    // A link to the key itself is as good as any other of its type, whatever it announced.
    all.iter_mut()
        .filter(|(_, claim)| claim.kind == ClaimKind::Direct)
        .for_each(|(_, claim)| claim.steps = 0);
    all.sort_unstable();
    all.dedup_by_key(|(key, _)| *key);
    all
}
