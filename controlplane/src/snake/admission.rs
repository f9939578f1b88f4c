//! The decision which bootstraps are accepted.

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::{PublicKey, SignedBody};
use tracing::warn;

use crate::context::Context;
use crate::position::Position;
use crate::replay_cache::ReplayCache;
use crate::rib::{Room, Route};
use crate::verify::Bootstrap;

/// Minimum time between two warnings about clocks that differ.
const WARNING_GAP: Duration = Duration::from_secs(60);

/// The effect of an accepted bootstrap on the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// It sets up its route or refreshes it, after the oldest route from `evict` has been evicted.
    Route {
        /// The port whose oldest route must be evicted, if any.
        evict: Option<PortId>,
    },
    /// It has come before, but only as a correction. It is forwarded, and the route stays as it is.
    Forward,
}

/// The state by which the node refuses bootstraps.
#[derive(Default)]
pub(super) struct Admission {
    replay_cache: ReplayCache,
    last_warning: Option<Duration>,
}

impl Admission {
    /// Returns the effect of a bootstrap if its signature is good, or `None` if it is refused. `highest` is the highest sequence of this node's own bootstraps.
    pub(super) fn admit(
        &mut self,
        cx: &mut Context,
        position: &Position,
        port: PortId,
        bootstrap: &Bootstrap,
        highest: u64,
    ) -> Option<Acceptance> {
        let Bootstrap {
            key,
            watermark,
            body,
            ..
        } = bootstrap;
        if *key == cx.own {
            cx.counters.bootstraps_own += 1;
            if cx.is_own_body_elsewhere(body, highest) {
                cx.counters.bootstraps_own_elsewhere += 1;
            }
            return None;
        }
        if !position.has_root_of(body) {
            cx.counters.bootstraps_other_root += 1;
            return None;
        }
        if let Some(lead) = cx.excessive_lead(body.sequence) {
            cx.counters.bootstraps_future += 1;
            self.warn_of_lead(cx.now.monotonic, port, key, lead);
            return None;
        }
        let known = cx.rib.routes().get(key);
        if watermark.key != *key && came_as_correction(known.as_ref(), body) {
            return Some(Acceptance::Forward);
        }
        let last = match known {
            Some(route) => Some(route.sequence),
            None => self.replay_cache.get(cx.now.monotonic, key),
        };
        // A sequence accepted only by the network's time may have been that of a clock that has since been set right.
        let (config, now) = (&cx.config, cx.now.unix_ms);
        let last = last.filter(|last| {
            config.excessive_lead(*last, now).is_none()
                || config.excessive_lead(body.sequence, now).is_some()
        });
        if last.is_some_and(|last| body.sequence <= last) {
            cx.counters.bootstraps_stale += 1;
            return None;
        }
        let routes = cx.rib.routes();
        let room = match known {
            Some(route) if route.source == port => Room::Free,
            // A route that changes its source leaves the total as it is.
            Some(_) => routes.room(port, usize::MAX, config.max_routes_per_peer),
            None => routes.room(port, config.max_routes, config.max_routes_per_peer),
        };
        let evict = match room {
            Room::Free => None,
            Room::Evict(from) => Some(from),
            Room::None => {
                cx.counters.routes_refused += 1;
                return None;
            }
        };
        Some(Acceptance::Route { evict })
    }

    /// Forgets the last sequence of a key that has a route again.
    pub(super) fn route_added(&mut self, key: &PublicKey) {
        self.replay_cache.remove(key);
    }

    /// Remembers the last sequence of a key whose route was removed.
    pub(super) fn route_removed(&mut self, cx: &Context, route: &Route) {
        let until = cx.now.monotonic + cx.config.sequence_memory;
        let max = cx.config.max_remembered_sequences;
        self.replay_cache
            .insert(&route.key, route.sequence, until, max);
    }

    /// Removes expired sequences.
    pub(super) fn expire(&mut self, now: Duration) {
        self.replay_cache.expire(now);
    }

    /// Returns the number of sequences evicted before they expired.
    pub(super) fn evicted(&self) -> u64 {
        self.replay_cache.evicted()
    }

    fn warn_of_lead(&mut self, now: Duration, port: PortId, key: &PublicKey, lead: u64) {
        let last = self.last_warning;
        if last.is_none_or(|last| now >= last + WARNING_GAP) {
            self.last_warning = Some(now);
            warn!(%port, %key, lead_ms = lead, "bootstrap dropped: its sender's clock is ahead, or this node's is behind");
        }
    }
}

/// Reports whether a bootstrap has come before, but only as a correction.
fn came_as_correction(known: Option<&Route>, body: &SignedBody) -> bool {
    known.is_some_and(|route| route.corrected && route.sequence == body.sequence)
}
