//! Frames signed with our own key that we have not made: another node uses it.
//!
//! A frame of our own may come back at any time, and frames from before a restart are not remembered. So a
//! frame counts only if this node is not likely to have made it:
//! - Its sequence is above every sequence that this node has sent.
//! - A minute has passed since the first such frame, and the sequence is recent but not one of its own.
//! - It is an announcement of a root sequence that this node does not follow yet. Where this node is
//!   itself the root, the sequence is above what others told in the first minute: the last one from
//!   before a restart stays in the network for long.

use std::collections::VecDeque;
use std::time::Duration;

use pinecone_wire::{Announcement, PublicKey, SignedBody};
use tracing::warn;

use crate::ControlPlane;

/// Between two checks of signatures that are said to be ours: anybody can make us check them.
const CHECK_GAP: Duration = Duration::from_secs(1);
/// Between two lines of the log.
const COMPLAINT_GAP: Duration = Duration::from_secs(3600);
/// After a start others may still announce what we were before.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Number of own sequences that are remembered: about five minutes' worth.
const SENT: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct OwnKey {
    /// The last sequences that we have signed, the oldest first.
    sent: VecDeque<u64>,
    /// When such a frame was first looked at, and the time of day then.
    started: Option<(Duration, u64)>,
    /// The highest sequence of us as a root that others have announced.
    root_heard: u64,
    last_check: Option<Duration>,
    last_complaint: Option<Duration>,
}

impl OwnKey {
    /// Takes note of the sequence of a bootstrap or broadcast of ours.
    pub(crate) fn sent(&mut self, sequence: u64) {
        if self.sent.len() == SENT {
            self.sent.pop_front();
        }
        self.sent.push_back(sequence);
    }

    /// Whether a sequence is newer than the oldest remembered one, and is not ours.
    fn is_unknown(&self, sequence: u64) -> bool {
        self.sent
            .iter()
            .min()
            .is_some_and(|least| sequence > *least)
            && !self.sent.contains(&sequence)
    }
}

impl ControlPlane {
    /// Whether a bootstrap or broadcast with our key, signed by it, was made by another node; `last`
    /// is the highest sequence that we have sent.
    pub(crate) fn is_own_body_elsewhere(&mut self, body: &SignedBody, last: u64) -> bool {
        let now = self.now.monotonic;
        let (started, unix_ms) = *(self.own_key.started).get_or_insert((now, self.now.unix_ms));
        // Before a restart our clock may have been right.
        let ahead = body.sequence > last.max(unix_ms).max(self.signing_ms());
        // By then, frames from before a restart have left the network.
        let settled = now >= started + FORGOTTEN_AFTER;
        let unknown = settled && self.own_key.is_unknown(body.sequence);
        if !ahead && !unknown {
            return false;
        }
        let checked = self.own_key.last_check;
        if checked.is_some_and(|last| now < last + CHECK_GAP) {
            return false;
        }
        self.own_key.last_check = Some(now);
        self.counters.signatures_checked += 1;
        let own: PublicKey = self.own;
        let ready = own.verifying_key();
        if !ready.is_some_and(|key| body.verify(&key)) {
            return false;
        }
        self.complain_of_own_key();
        true
    }

    /// Looks for our own signature in an announcement whose signatures are good, where we cannot have
    /// put it.
    pub(crate) fn look_for_own_key(&mut self, announcement: &Announcement) {
        let now = self.now.monotonic;
        let (started, _) = *(self.own_key.started).get_or_insert((now, self.now.unix_ms));
        let position = self.tree.position();
        let (root, sequence) = (announcement.root(), announcement.root_sequence());
        let newer = if root == self.own {
            let heard = self.own_key.root_heard.max(self.tree.own_sequence());
            self.own_key.root_heard = heard.max(sequence);
            sequence > heard && now >= started + FORGOTTEN_AFTER
        } else {
            root == position.root && sequence > position.root_sequence
        };
        if newer && announcement.is_signed_by(&self.own) {
            self.counters.announcements_own_elsewhere += 1;
            self.complain_of_own_key();
        }
    }

    fn complain_of_own_key(&mut self) {
        let now = self.now.monotonic;
        let last = self.own_key.last_complaint;
        if last.is_none_or(|last| now >= last + COMPLAINT_GAP) {
            self.own_key.last_complaint = Some(now);
            warn!(
                key = %self.own,
                "another node uses our key: neither can be reached reliably; give it a key of its own"
            );
        }
    }
}
