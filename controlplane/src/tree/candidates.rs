//! The peers that may become the parent.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;
use pinecone_wire::timing::ANNOUNCEMENT_LIFETIME;

use super::damping::Damping;
use crate::context::Context;
use crate::rib::Announced;

/// The announcements of live peers that may be followed, best last.
#[derive(Debug, Default)]
pub(super) struct Candidates(BTreeSet<Candidate>);

/// An announcement, ordered by how good a parent its sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) root: PublicKey,
    pub(super) root_sequence: u64,
    order: Reverse<u64>,
    pub(super) port: PortId,
}

impl Candidates {
    /// Adds the announcement of the peer at `port`, unless it must not be followed.
    pub(super) fn insert(&mut self, port: PortId, announced: &Announced) {
        self.0.extend(Candidate::new(port, announced));
    }

    /// Removes an announcement that was added.
    pub(super) fn remove(&mut self, port: PortId, announced: &Announced) {
        if let Some(candidate) = Candidate::new(port, announced) {
            self.0.remove(&candidate);
        }
    }

    /// Returns the best candidate whose announcement has not expired and whose root is not held back. `current` is
    /// the root that the node follows. If a better root is held back, its selection is deferred.
    pub(super) fn best(
        &self,
        cx: &Context,
        damping: &mut Damping,
        current: &PublicKey,
    ) -> Option<Candidate> {
        let now = cx.now.monotonic;
        let is_alive = |candidate: &&Candidate| {
            cx.rib
                .announced(candidate.port)
                .is_some_and(|announced| now < announced.received + ANNOUNCEMENT_LIFETIME)
        };
        let mut bound = Bound::Unbounded;
        loop {
            let mut candidates = self.0.range((Bound::Unbounded, bound)).rev();
            let root = candidates.clone().next()?.root;
            let same = |candidate: &&Candidate| candidate.root == root;
            let found = candidates.by_ref().take_while(same).find(is_alive).copied();
            match damping.held_until(cx, &root, current) {
                // The root is selected when the hold ends, whichever peer announces it then.
                Some(until) if found.is_some() => damping.defer(until),
                Some(_) => {}
                None if found.is_some() => return found,
                None => {}
            }
            bound = Bound::Excluded(Candidate::below_all_of(root));
        }
    }
}

impl Candidate {
    fn new(port: PortId, announced: &Announced) -> Option<Self> {
        let (root, root_sequence) = announced.root();
        (!announced.unfit).then_some(Self {
            root,
            root_sequence,
            order: Reverse(announced.order),
            port,
        })
    }

    /// Returns a candidate that is worse than any that follows this root, and better than all that follow lower ones.
    fn below_all_of(root: PublicKey) -> Self {
        Self {
            root,
            root_sequence: 0,
            order: Reverse(u64::MAX),
            port: PortId(0),
        }
    }
}
