//! What the threads of a run tell each other.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::link::Place;

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Phase {
    /// Senders look for the way with probes.
    Probing,
    /// Senders send.
    Running,
    /// Senders have stopped; sinks still take what is under way.
    Draining,
    /// Threads end.
    Ended,
}

/// One for all threads.
#[derive(Debug)]
pub(crate) struct Shared {
    phase: AtomicU8,
    failure: Mutex<Option<String>>,
    /// Flows of which a probe has come through.
    seen: Vec<AtomicBool>,
    /// Where each link is in the tree, while probing.
    places: Vec<Mutex<Option<Place>>>,
    sent: AtomicU64,
    stopped: AtomicUsize,
    received: AtomicU64,
    missing: AtomicU64,
}

/// The counters that change while frames flow.
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

    /// Goes on to `phase`; never back.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// Ends the run. The first reason is kept: the others follow from it.
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

    /// Probes are sent again for all flows.
    pub(crate) fn forget_seen(&self) {
        for seen in &self.seen {
            seen.store(false, Ordering::Release);
        }
    }

    /// Returns the number of flows of which a probe has come through.
    pub(crate) fn seen_count(&self) -> usize {
        (0..self.seen.len())
            .filter(|flow| self.is_seen(*flow))
            .count()
    }

    /// Returns the first flow of which nothing has come through yet.
    pub(crate) fn first_unseen(&self) -> Option<usize> {
        (0..self.seen.len()).find(|flow| !self.is_seen(*flow))
    }

    pub(crate) fn set_place(&self, link: usize, place: Place) {
        if let Some(Ok(mut known)) = self.places.get(link).map(Mutex::lock) {
            *known = Some(place);
        }
    }

    /// Whether every link is in the tree and has told the snake of itself.
    pub(crate) fn all_joined(&self) -> bool {
        (0..self.places.len()).all(|link| self.place(link).is_some_and(|place| place.joined))
    }

    pub(crate) fn place(&self, link: usize) -> Option<Place> {
        *self.places.get(link)?.lock().ok()?
    }

    pub(crate) fn add_sent(&self, frames: u64) {
        self.sent.fetch_add(frames, Ordering::Relaxed);
    }

    /// A sender has sent its last.
    pub(crate) fn add_stopped(&self) {
        self.stopped.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn stopped(&self) -> usize {
        self.stopped.load(Ordering::Acquire)
    }

    /// Frames that came, and by how many more are missing or, where late ones came, fewer.
    pub(crate) fn add_received(&self, frames: u64, missing: i64) {
        self.received.fetch_add(frames, Ordering::Relaxed);
        // Adding what wraps is subtracting.
        self.missing.fetch_add(missing as u64, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            // Below zero where skipped frames are counted before they are missed.
            missing: (self.missing.load(Ordering::Relaxed) as i64).max(0) as u64,
        }
    }
}

/// How often a thread that does something else looks after its peering.
pub(crate) const TEND_EVERY: Duration = Duration::from_millis(5);
