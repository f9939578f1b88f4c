//! The next hops of bootstraps (protocol section 6).
//!
//! A bootstrap is routed towards the lowest known key strictly above its own, so unlike traffic it never
//! ends at the node that it is from. It never uses the FIB's lookups: those are for traffic.

use pinecone_fib::{KeyEntry, PortId};
use pinecone_wire::{PublicKey, Watermark};

use super::Rib;
use super::bootstrap_hop::BootstrapHop;

/// The number of known keys that are considered for another way.
const TRIES: usize = 16;

impl Rib {
    /// Returns the next hop of the bootstrap of `key`, or `None` if no known key is above it. A route whose
    /// watermark is worse than the bootstrap's is not used.
    pub(crate) fn bootstrap_hop(
        &self,
        key: &PublicKey,
        watermark: &Watermark,
    ) -> Option<BootstrapHop> {
        let (bound, last) = self.bound(key);
        let last = || Some(BootstrapHop::new(last?, *bound, 0));
        let found = self.fib.entry_above(key).filter(|entry| entry.key < *bound);
        let Some(entry) = found else { return last() };
        let above = entry.key;
        if let Some(port) = entry.near {
            return Some(BootstrapHop::new(port, above, 0));
        }
        if let Some((port, sequence)) = entry.route {
            let hop = BootstrapHop::new(port, above, sequence);
            if !hop.watermark.is_worse_than(watermark) {
                return Some(hop);
            }
        }
        // The watermark also rules out every further route, but no watermark rules out a near key.
        match self.near.above(key) {
            Some((above, port)) if above < *bound => Some(BootstrapHop::new(port, above, 0)),
            _ => last(),
        }
    }

    /// Returns a next hop of the bootstrap of `key` for when the right one leads back to `ingress`: towards the first
    /// of the next [`TRIES`] known keys above it to which another port leads, whatever its watermark, or else to the
    /// root. That may still be `ingress`.
    pub(crate) fn bootstrap_detour(
        &self,
        key: &PublicKey,
        ingress: PortId,
    ) -> Option<BootstrapHop> {
        let (bound, last) = self.bound(key);
        let entries = self.entries_above(key).take(TRIES);
        entries
            .take_while(|entry| entry.key < *bound)
            .find_map(|entry| {
                let near = entry.near.map(|port| (port, 0));
                let mut hops = [near, entry.route].into_iter().flatten();
                let (port, sequence) = hops.find(|(port, _)| *port != ingress)?;
                Some(BootstrapHop::new(port, entry.key, sequence))
            })
            .or_else(|| Some(BootstrapHop::new(last?, *bound, 0)))
    }

    /// Returns a next hop of the bootstrap of `key` that is none of the ports `avoided`, whatever its
    /// watermark: towards the lowest known key above it to which another port leads, if possible by a way
    /// that, as announced, passes neither this node nor the peers at the avoided ports. Considers
    /// [`TRIES`] hops, then as many to the root. Returns `None` if there is no such hop, or if the next
    /// key above is this node's own.
    pub(crate) fn bootstrap_around(
        &self,
        key: &PublicKey,
        avoided: &[PortId],
    ) -> Option<BootstrapHop> {
        let avoided_keys = avoided.iter().filter_map(|port| self.adjacencies.get(port));
        let passed: Vec<_> = avoided_keys.map(|p| p.key).chain([self.own]).collect();
        let is_apart = |port: &PortId| {
            self.announced(*port).is_none_or(|announced| {
                let signers = announced.announcement.entries();
                signers.iter().all(|signer| !passed.contains(&signer.key))
            })
        };
        let above = self.hops_above(key).take(TRIES);
        let (root, _) = self.root;
        let to_root = self.near.ports(root);
        let to_root = to_root.map(|port| BootstrapHop::new(port, root, 0));
        let beyond = *key >= self.own && *key < root;
        let last = to_root.take(TRIES).filter(|_| beyond);
        let hops: Vec<_> = above
            .chain(last)
            .filter(|hop| !avoided.contains(&hop.port))
            .collect();
        // A bootstrap has come along a route, so the route leads on, whatever is announced there.
        let good = |hop: &&BootstrapHop| hop.watermark.sequence != 0 || is_apart(&hop.port);
        hops.iter().find(good).or(hops.first()).copied()
    }

    /// Returns the highest known key below `key`.
    pub(crate) fn key_below(&self, key: &PublicKey) -> Option<PublicKey> {
        Some(self.fib.entry_below(key)?.key)
    }

    /// Returns all hops towards known keys above `key`, lowest key first, up to this node's own key.
    fn hops_above(&self, key: &PublicKey) -> impl Iterator<Item = BootstrapHop> {
        let own = Some(self.own).filter(|own| key < own);
        self.entries_above(key)
            .take_while(move |entry| own.is_none_or(|own| entry.key < own))
            .flat_map(|entry| {
                let near = self.near.ports(entry.key).map(|port| (port, 0));
                near.chain(entry.route)
                    .map(move |(port, sequence)| BootstrapHop::new(port, entry.key, sequence))
            })
    }

    fn entries_above(&self, key: &PublicKey) -> impl Iterator<Item = KeyEntry> {
        let mut last = *key;
        std::iter::from_fn(move || {
            let entry = self.fib.entry_above(&last)?;
            last = entry.key;
            Some(entry)
        })
    }

    /// Returns the key that closer keys must be below, and the port towards it for when no key is closer.
    fn bound(&self, key: &PublicKey) -> (&PublicKey, Option<PortId>) {
        match &self.up {
            Some((root, port)) if *key == self.own || (self.own < *key && key < root) => {
                (root, Some(*port))
            }
            _ => (&self.own, self.own_key_port),
        }
    }
}
