//! The network's time, for nodes whose own clock is wrong.
//!
//! Bootstraps and broadcasts say when they were signed. Each peering has one vote: the median over
//! the last few keys that it brought, so that a peer that makes up keys by the thousand counts no
//! more than another. Our own keys and frames are left out.
//!
//! - A sequence is plausible if it is not too far ahead of our clock, or of the (upper) median of the
//!   votes. The network's time never excludes what our clock accepts, so wrong votes can only let
//!   sequences in, which harm none but the keys that signed them. Two keys must have been heard.
//! - We sign with our own clock, unless three quarters of the votes say that it is ahead, or that it
//!   is behind, by more than half of what others accept. A clock that is ahead keeps others from
//!   taking our bootstraps; one peer is enough to tell us so. A clock that is behind harms only after
//!   a restart, for the 70 s in which others remember what we signed before; so we wait for three
//!   keys, as one who believes a single wrong clock would be ahead of everybody else.
//!
//! Votes are kept against monotonic time, so that they outlive a correction of our clock.

use std::time::Duration;

use pinecone_dataplane::PortId;
use pinecone_wire::PublicKey;
use tracing::warn;

use crate::ControlPlane;

/// Keys remembered for each peering.
const KEYS_PER_PEERING: usize = 7;
/// Keys that must have been heard before a sequence far ahead of our clock is taken.
const KEYS_TO_ACCEPT: usize = 2;
/// Keys that must have been heard before we sign with a later time than our clock's.
const KEYS_TO_ADVANCE: usize = 3;
/// Where there are many peerings, votes are counted no more often than this.
const COUNT_GAP: Duration = Duration::from_secs(1);
/// Peerings whose votes are counted whenever they are asked for.
const FEW_PEERINGS: usize = 16;
/// Between two lines of the log.
const COMPLAINT_GAP: Duration = Duration::from_secs(3600);

/// The last few keys that a peering brought, and what they signed less our monotonic time, in
/// milliseconds. The beginning of a key is enough to tell it from others.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<(u64, i64)>);

#[derive(Debug, Default)]
pub(crate) struct NetworkTime {
    votes: Votes,
    counted: Option<Duration>,
    changed: bool,
    /// The network's time less that of our clock, in milliseconds, where they disagree.
    disagreement: Option<i64>,
    last_complaint: Option<Duration>,
}

/// The votes in order, as far as they are asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    /// How many keys they stand on, counted up to [`KEYS_TO_ADVANCE`].
    keys: usize,
    lower_quartile: i64,
    upper_median: i64,
    upper_quartile: i64,
}

impl Times {
    fn hear(&mut self, key: &PublicKey, time: i64) {
        let [a, b, c, d, e, f, g, h, ..] = key.0;
        let key = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        if let Some(at) = self.0.iter().position(|(known, _)| *known == key) {
            self.0.remove(at);
        } else if self.0.len() >= KEYS_PER_PEERING {
            self.0.remove(0);
        } else {
            self.0.reserve_exact(1);
        }
        self.0.push((key, time));
    }

    fn median(&self) -> Option<i64> {
        let mut times: Vec<_> = self.0.iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }
}

impl NetworkTime {
    pub(crate) fn disagreement(&self) -> Option<i64> {
        self.disagreement
    }
}

impl ControlPlane {
    /// `key` says that it signed something at `sequence`.
    pub(crate) fn hear_time(&mut self, port: PortId, key: &PublicKey, sequence: u64) {
        if *key == self.own {
            return;
        }
        let time = to_i64(sequence).saturating_sub(self.monotonic_ms());
        if let Some(peer) = self.peers.get_mut(port) {
            peer.times.hear(key, time);
            self.network_time.changed = true;
        }
    }

    /// How far a sequence is ahead of our clock, in milliseconds, if that is too far by our clock and
    /// by the network's time.
    pub(crate) fn excessive_lead(&mut self, sequence: u64) -> Option<u64> {
        let own = self.now.unix_ms;
        let lead = self.config.excessive_lead(sequence, own)?;
        let votes = self.votes();
        if votes.keys < KEYS_TO_ACCEPT {
            return Some(lead);
        }
        let network = self.unix_ms_of(votes.upper_median).max(own);
        self.config.excessive_lead(sequence, network).map(|_| lead)
    }

    /// The next sequence to sign after `last`: Unix milliseconds, and more than the last. Only if the
    /// last was so far ahead that others have refused it, we begin again below it.
    pub(crate) fn sequence_after(&mut self, last: u64) -> u64 {
        let time = self.signing_ms();
        if self.config.excessive_lead(last, time).is_some() {
            return time;
        }
        time.max(last.saturating_add(1))
    }

    /// The time of day that we sign with.
    pub(crate) fn signing_ms(&mut self) -> u64 {
        let own = self.now.unix_ms;
        let votes = self.votes();
        match self.disagrees(&votes) {
            Some(by) if by < 0 => self.unix_ms_of(votes.upper_quartile),
            Some(_) if votes.keys >= KEYS_TO_ADVANCE => self.unix_ms_of(votes.lower_quartile),
            _ => own,
        }
    }

    /// Once a second: looks whether our clock disagrees with the network, and says so once an hour.
    pub(crate) fn maintain_network_time(&mut self) {
        let votes = self.votes();
        self.network_time.disagreement = self.disagrees(&votes);
        let Some(by) = self.network_time.disagreement else {
            return;
        };
        let now = self.now.monotonic;
        let last = self.network_time.last_complaint;
        if last.is_none_or(|last| now >= last + COMPLAINT_GAP) {
            self.network_time.last_complaint = Some(now);
            let seconds = by.unsigned_abs() / 1000;
            match by < 0 {
                true => warn!(seconds, "our clock is ahead of the network's: set it"),
                false => warn!(seconds, "our clock is behind the network's: set it"),
            }
        }
    }

    /// The network's time less our clock's, if three quarters of the votes say that they are far apart.
    fn disagrees(&self, votes: &Votes) -> Option<i64> {
        let own = to_i64(self.now.unix_ms);
        let far = self.config.max_sequence_lead.as_millis() / 2;
        let far = i64::try_from(far).unwrap_or(i64::MAX);
        let less_ours = |vote: i64| vote.saturating_add(self.monotonic_ms()).saturating_sub(own);
        let (least, most) = (
            less_ours(votes.lower_quartile),
            less_ours(votes.upper_quartile),
        );
        if votes.keys == 0 {
            None
        } else if most < -far {
            Some(most)
        } else {
            (least > far && votes.keys >= KEYS_TO_ACCEPT).then_some(least)
        }
    }

    fn votes(&mut self) -> Votes {
        let now = self.now.monotonic;
        let state = &self.network_time;
        let rested = state.counted.is_none_or(|last| now >= last + COUNT_GAP);
        if state.changed && (rested || self.peers.len() <= FEW_PEERINGS) {
            self.network_time.changed = false;
            self.network_time.counted = Some(now);
            self.network_time.votes = self.count_votes();
        }
        self.network_time.votes
    }

    fn count_votes(&self) -> Votes {
        // Several peerings with one key have one vote.
        let mut votes: Vec<_> = (self.peers.iter())
            .filter_map(|(_, peer)| Some((peer.key, peer.times.median()?)))
            .collect();
        votes.sort_unstable();
        votes.dedup_by_key(|(key, _)| *key);
        let mut votes: Vec<_> = votes.into_iter().map(|(_, time)| time).collect();
        votes.sort_unstable();
        let mut keys = Vec::new();
        for (key, _) in self.peers.iter().flat_map(|(_, peer)| &peer.times.0) {
            if keys.len() < KEYS_TO_ADVANCE && !keys.contains(key) {
                keys.push(*key);
            }
        }
        let at = |index: usize| votes.get(index).copied().unwrap_or_default();
        let quarter = votes.len() / 4;
        Votes {
            keys: keys.len(),
            lower_quartile: at(quarter),
            upper_median: at(votes.len() / 2),
            upper_quartile: at(votes.len().saturating_sub(1 + quarter)),
        }
    }

    fn unix_ms_of(&self, vote: i64) -> u64 {
        u64::try_from(vote.saturating_add(self.monotonic_ms())).unwrap_or(0)
    }

    fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.now.monotonic.as_millis()).unwrap_or(i64::MAX)
    }
}

fn to_i64(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
