//! Limits on how fast the node follows higher roots.

use std::collections::VecDeque;
use std::time::Duration;

use pinecone_wire::PublicKey;

use super::flaps::Flaps;
use crate::Config;
use crate::context::Context;

/// The limits on moves to higher roots, and the moves that they have deferred.
#[derive(Debug)]
pub(super) struct Damping {
    /// The times at which the node last moved to higher roots.
    moves: VecDeque<Duration>,
    flaps: Flaps,
    /// The time at which to select a parent again, after a move was deferred.
    deferred: Option<Duration>,
    /// The root that the node followed last, except while it waits to select a parent.
    last_root: PublicKey,
}

impl Damping {
    pub(super) fn new(own: PublicKey) -> Self {
        Self {
            moves: VecDeque::new(),
            flaps: Flaps::default(),
            deferred: None,
            last_root: own,
        }
    }

    /// Reports whether the node may move to a higher root at once, and counts the move. Otherwise defers it.
    pub(super) fn may_rise(&mut self, cx: &mut Context) -> bool {
        let now = cx.now.monotonic;
        let window = cx.config.root_change_window;
        while self.moves.front().is_some_and(|at| *at + window <= now) {
            self.moves.pop_front();
        }
        if self.moves.len() < cx.config.max_root_changes {
            self.moves.push_back(now);
            return true;
        }
        cx.counters.root_changes_damped += 1;
        let at = now + cx.config.root_change_delay;
        self.deferred.get_or_insert(at);
        false
    }

    /// Returns the time until which `root` is held back, if it is. `current` is the root that the node follows.
    pub(super) fn held_until(
        &self,
        cx: &Context,
        root: &PublicKey,
        current: &PublicKey,
    ) -> Option<Duration> {
        // Any peer that follows the current root may be the parent.
        if root <= current {
            return None;
        }
        self.flaps.held(cx.now.monotonic, root, &cx.config)
    }

    /// Defers the selection of a parent until `until`, or earlier if it is deferred already.
    pub(super) fn defer(&mut self, until: Duration) {
        let earlier = self.deferred.filter(|at| *at <= until);
        self.deferred = Some(earlier.unwrap_or(until));
    }

    /// Returns the time at which a deferred selection is due.
    pub(super) fn deferred(&self) -> Option<Duration> {
        self.deferred
    }

    /// Reports whether a deferred selection is due, and clears it if so.
    pub(super) fn take_due(&mut self, now: Duration) -> bool {
        self.deferred.take_if(|at| *at <= now).is_some()
    }

    /// Cancels a deferred selection.
    pub(super) fn cancel(&mut self) {
        self.deferred = None;
    }

    /// Records the root that the node follows after any waiting. A change to a lower root is a loss of the last one.
    pub(super) fn record_root(&mut self, now: Duration, config: &Config, root: PublicKey) {
        let before = std::mem::replace(&mut self.last_root, root);
        if before > root {
            self.flaps.lost(now, before, config);
        }
    }

    /// Forgets which roots flapped.
    pub(super) fn forget_flaps(&mut self) {
        self.flaps.clear();
    }
}
