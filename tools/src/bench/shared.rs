//! The state that the threads of a run share.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::link::Place;

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Senders send probes to find routes.
    Probing,
    /// Senders send frames.
    Running,
    /// Senders have stopped. Sinks still receive frames in flight.
    Draining,
    /// Threads end.
    Ended,
}

/// The shared state.
#[derive(Debug)]
pub(crate) struct Shared {
    phase: AtomicU8,
    failure: Mutex<Option<String>>,
    /// Flows of which a probe has arrived.
    seen: Vec<AtomicBool>,
    /// The place of each link in the tree, while probing.
    places: Vec<Mutex<Option<Place>>>,
    sent: AtomicU64,
    stopped: AtomicUsize,
    received: AtomicU64,
    missing: AtomicU64,
}

/// Counters that change while frames are sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) missing: u64,
}

impl Shared {
    pub(crate) fn new(flows: usize, links: usize) -> Self {
        Self {
            phase: AtomicU8::new(Phase::Probing as u8),
            failure: Mutex::new(None),
            seen: (0..flows).map(|_| AtomicBool::new(false)).collect(),
            places: (0..links).map(|_| Mutex::new(None)).collect(),
            sent: AtomicU64::new(0),
            stopped: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            missing: AtomicU64::new(0),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Probing,
            1 => Phase::Running,
            2 => Phase::Draining,
            _ => Phase::Ended,
        }
    }

    /// Enters `phase`. Never returns to an earlier one.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// Ends the run. Only the first reason is kept, as the others follow from it.
    pub(crate) fn fail(&self, why: String) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(why);
        }
        self.enter(Phase::Ended);
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().ok()?.clone()
    }

    pub(crate) fn set_seen(&self, flow: usize) {
        if let Some(seen) = self.seen.get(flow) {
            seen.store(true, Ordering::Release);
        }
    }

    pub(crate) fn is_seen(&self, flow: usize) -> bool {
        self.seen
            .get(flow)
            .is_some_and(|seen| seen.load(Ordering::Acquire))
    }

    /// Forgets all probes, so that they are sent again.
    pub(crate) fn forget_seen(&self) {
        for seen in &self.seen {
            seen.store(false, Ordering::Release);
        }
    }

    /// Returns the number of flows of which a probe has arrived.
    pub(crate) fn seen_count(&self) -> usize {
        (0..self.seen.len())
            .filter(|flow| self.is_seen(*flow))
            .count()
    }

    /// Returns the first flow of which no probe has arrived yet.
    pub(crate) fn first_unseen(&self) -> Option<usize> {
        (0..self.seen.len()).find(|flow| !self.is_seen(*flow))
    }

    pub(crate) fn set_place(&self, link: usize, place: Place) {
        if let Some(Ok(mut known)) = self.places.get(link).map(Mutex::lock) {
            *known = Some(place);
        }
    }

    /// Reports whether every link is in the tree and has sent a bootstrap.
    pub(crate) fn all_joined(&self) -> bool {
        (0..self.places.len()).all(|link| self.place(link).is_some_and(|place| place.joined))
    }

    pub(crate) fn place(&self, link: usize) -> Option<Place> {
        *self.places.get(link)?.lock().ok()?
    }

    pub(crate) fn add_sent(&self, frames: u64) {
        self.sent.fetch_add(frames, Ordering::Relaxed);
    }

    /// Records that a sender has stopped.
    pub(crate) fn add_stopped(&self) {
        self.stopped.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn stopped(&self) -> usize {
        self.stopped.load(Ordering::Acquire)
    }

    /// Counts received frames, and the change in the number of missing frames, which is negative after late
    /// frames.
    pub(crate) fn add_received(&self, frames: u64, missing: i64) {
        self.received.fetch_add(frames, Ordering::Relaxed);
        // Adding a negative number wraps around.
        self.missing.fetch_add(missing as u64, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            // Negative while skipped frames are not yet known to be missing.
            missing: (self.missing.load(Ordering::Relaxed) as i64).max(0) as u64,
        }
    }
}

/// Interval at which a busy thread runs its control plane.
pub(crate) const TEND_EVERY: Duration = Duration::from_millis(5);
