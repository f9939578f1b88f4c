//! Detection of another node that uses this node's key.
//!
//! Frames of this node may come back at any time, and it does not remember those from before a restart. So a frame with
//! its signature counts as another node's only if this node is unlikely to have made it:
//! - Its sequence is above every sequence that this node has sent.
//! - A minute has passed since the first frame with this node's signature, and the sequence is recent but not one that
//!   this node used.
//! - It is an announcement of a root sequence that this node does not follow yet. If this node is itself the root, the
//!   sequence is above what others announced in the first minute, as the last sequence from before a restart stays in
//!   the network for long.

use std::collections::VecDeque;
use std::time::Duration;

use pinecone_wire::{Announcement, PublicKey, SignedBody};
use tracing::warn;

use crate::position::Position;
use crate::{Counters, Now};

/// Minimum time between two verifications of signatures that claim to be this node's, as anybody can cause them.
const CHECK_GAP: Duration = Duration::from_secs(1);
/// Minimum time between two warnings.
const WARNING_GAP: Duration = Duration::from_secs(3600);
/// Time after the start in which others may still send what this node made before a restart.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Number of own sequences that are remembered: those of about five minutes.
const SENT: usize = 128;

/// The node's knowledge about frames signed with its key.
#[derive(Debug, Default)]
pub(crate) struct OwnKey {
    /// The last sequences that the node has signed, the oldest first.
    sent: VecDeque<u64>,
    /// The time at which a frame with this node's signature was first inspected, monotonic and as Unix time in
    /// milliseconds.
    started: Option<(Duration, u64)>,
    /// The highest sequence of this node as a root that others have announced.
    root_heard: u64,
    last_check: Option<Duration>,
    last_warning: Option<Duration>,
}

impl OwnKey {
    /// Records the sequence of a bootstrap or broadcast of this node.
    pub(crate) fn record_sent(&mut self, sequence: u64) {
        if self.sent.len() == SENT {
            self.sent.pop_front();
        }
        self.sent.push_back(sequence);
    }

    /// Reports whether another node made a bootstrap or broadcast with this node's key. `highest` is the highest
    /// sequence that this node may have used for it.
    pub(crate) fn inspect_body(
        &mut self,
        now: Now,
        own: &PublicKey,
        body: &SignedBody,
        highest: u64,
        counters: &mut Counters,
    ) -> bool {
        let (started, unix_ms) = *(self.started).get_or_insert((now.monotonic, now.unix_ms));
        let now = now.monotonic;
        // The clock may have been right before a restart.
        let is_ahead = body.sequence > highest.max(unix_ms);
        // By then, frames from before a restart have left the network.
        let are_forgotten = now >= started + FORGOTTEN_AFTER;
        let is_suspicious = is_ahead || (are_forgotten && self.is_unknown(body.sequence));
        if !is_suspicious {
            return false;
        }
        let checked = self.last_check;
        if checked.is_some_and(|last| now < last + CHECK_GAP) {
            return false;
        }
        self.last_check = Some(now);
        counters.signatures_checked += 1;
        let ready = own.verifying_key();
        if !ready.is_some_and(|key| body.verify(&key)) {
            return false;
        }
        self.warn(now, own);
        true
    }

    /// Reports whether an announcement whose signatures are good bears this node's signature where it cannot have
    /// signed. `own_sequence` is the node's own sequence as a root.
    pub(crate) fn inspect_announcement(
        &mut self,
        now: Now,
        own: &PublicKey,
        position: &Position,
        own_sequence: u64,
        announcement: &Announcement,
    ) -> bool {
        let (started, _) = *(self.started).get_or_insert((now.monotonic, now.unix_ms));
        let now = now.monotonic;
        let (root, sequence) = (announcement.root(), announcement.root_sequence());
        let newer = if root == *own {
            let heard = self.root_heard.max(own_sequence);
            self.root_heard = heard.max(sequence);
            sequence > heard && now >= started + FORGOTTEN_AFTER
        } else {
            root == position.root && sequence > position.root_sequence
        };
        if !newer || !announcement.is_signed_by(own) {
            return false;
        }
        self.warn(now, own);
        true
    }

    /// Reports whether a sequence is newer than the oldest remembered one, and is not this node's.
    fn is_unknown(&self, sequence: u64) -> bool {
        self.sent
            .iter()
            .min()
            .is_some_and(|least| sequence > *least)
            && !self.sent.contains(&sequence)
    }

    fn warn(&mut self, now: Duration, own: &PublicKey) {
        let last = self.last_warning;
        if last.is_none_or(|last| now >= last + WARNING_GAP) {
            self.last_warning = Some(now);
            warn!(
                key = %own,
                "another node uses this node's key: neither can be reached reliably; give it a key of its own"
            );
        }
    }
}
