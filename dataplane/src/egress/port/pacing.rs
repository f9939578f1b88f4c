//! Fitting sends to the speed of a link. On a slow link, bytes that have been given to the kernel can neither be
//! overtaken nor dropped, so there must be few of them.

/// Bytes of the first drain, of the smallest, and of the largest.
const DRAIN_FIRST: usize = 16 << 10;
pub(super) const DRAIN_MIN: usize = 2 << 10;
pub(super) const DRAIN_MAX: usize = 512 << 10;
/// A drain faster than this may grow, and one slower than that must shrink, in milliseconds.
const DRAIN_FAST_MS: u64 = 10;
const DRAIN_SLOW_MS: u64 = 200;
/// The time that a drain on a slow link should take, and the time for which the kernel may have unsent
/// bytes there, in milliseconds.
const DRAIN_AIM_MS: usize = 50;
const UNSENT_MS: usize = 50;
/// Bounds of the number of bytes that the kernel may have unsent on a slow link.
pub(super) const UNSENT_MIN: usize = 3 << 10;
const UNSENT_MAX: usize = 128 << 10;
/// A fast drain of this many bytes shows that the link is no longer slow.
const DRAIN_LONG: usize = 64 << 10;

/// The pace of a port.
pub(super) struct Pacing {
    drain_limit: usize,
    /// Bytes that the kernel may have unsent, if that is limited.
    unsent_limit: Option<usize>,
    /// True if the kernel has not been told of the limit.
    is_new: bool,
}

impl Pacing {
    pub(super) const fn new() -> Self {
        Self {
            drain_limit: DRAIN_FIRST,
            unsent_limit: None,
            is_new: false,
        }
    }

    /// Returns the maximum number of bytes of the next drain.
    pub(super) const fn drain_limit(&self) -> usize {
        self.drain_limit
    }

    /// Reports whether the link is slow.
    pub(super) const fn is_slow(&self) -> bool {
        self.unsent_limit.is_some()
    }

    /// Returns the number of bytes that the kernel may have unsent from now on, if that has changed. `Some(None)` lifts
    /// the limit.
    pub(super) fn take_unsent_limit(&mut self) -> Option<Option<usize>> {
        std::mem::take(&mut self.is_new).then_some(self.unsent_limit)
    }

    /// Adapts to a drain of `bytes` that took `elapsed` milliseconds.
    pub(super) fn adapt(&mut self, bytes: usize, elapsed: u64) {
        let in_time = |ms: usize| bytes.saturating_mul(ms) / elapsed.max(1) as usize;
        if elapsed <= DRAIN_FAST_MS {
            if bytes >= DRAIN_LONG && self.unsent_limit.is_some() {
                self.unsent_limit = None;
                self.is_new = true;
            }
            // The bytes of a smaller drain may not have left the kernel.
            if bytes >= self.drain_limit / 2 {
                self.drain_limit = (self.drain_limit * 2).min(DRAIN_MAX);
            }
        } else if elapsed >= DRAIN_SLOW_MS {
            self.drain_limit = in_time(DRAIN_AIM_MS).clamp(DRAIN_MIN, DRAIN_MAX);
            let wanted = in_time(UNSENT_MS).clamp(UNSENT_MIN, UNSENT_MAX);
            let fits = |limit| (wanted / 2..=wanted.saturating_mul(2)).contains(&limit);
            if !self.unsent_limit.is_some_and(fits) {
                self.unsent_limit = Some(wanted);
                self.is_new = true;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn set_drain_limit(&mut self, bytes: usize) {
        self.drain_limit = bytes;
    }
}
