//! The network's time, for nodes whose own clock is wrong.
//!
//! Bootstraps and broadcasts say when they were signed. Each peering has one vote: the median over
//! the last few keys that it brought, so that a peer that makes up keys by the thousand counts no more
//! than another. Our own keys and frames are left out. Of two in the middle both are kept, and the one
//! is used that is less likely to do harm.
//!
//! - A sequence is plausible if it is not too far ahead of our clock, or of the upper median of the
//!   votes. The network's time never excludes what our clock accepts. Wrong votes let sequences in,
//!   which harms none but the keys that signed them; and not even those for long, as a sequence that
//!   our clock would not accept does not make an earlier one stale. Two keys must have been heard.
//! - We sign with our own clock, unless three quarters of the votes say that it is ahead, or that it
//!   is behind, by more than half of what others accept. Three keys must have been heard. A node at
//!   the end of a line may never hear more than its neighbour's. If our clock is ahead, others do not
//!   take our bootstraps, so then we believe that one key after a few seconds: it may be the one
//!   that is wrong, and about to find out. If our clock is behind, that harms for 70 s after a restart
//!   at most, and we do not believe it.
//! - A node that begins to sign with another time tells its peers at once, by a broadcast.
//!
//! Votes are kept against monotonic time, so that they outlive a correction of our clock.

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;
use tracing::warn;

use crate::ControlPlane;

/// Keys remembered for each peering.
const KEYS_PER_PEERING: usize = 7;
/// Keys that must have been heard before a sequence far ahead of our clock is taken.
const KEYS_TO_ACCEPT: usize = 2;
/// Keys that must have been heard before we sign with another time than our clock's.
const KEYS_TO_SIGN: usize = 3;
/// How long fewer keys must have said that our clock is ahead.
const DOUBT: Duration = Duration::from_secs(5);
/// Between two broadcasts because of another time.
const TELL_GAP: Duration = Duration::from_secs(10);
/// Where there are many peerings, votes are counted no more often than this.
const COUNT_GAP: Duration = Duration::from_secs(1);
/// Peerings whose votes are counted whenever they are asked for.
const FEW_PEERINGS: usize = 16;
/// Between two lines of the log.
const COMPLAINT_GAP: Duration = Duration::from_secs(3600);

/// The last few keys that a peering brought, and what they signed less our monotonic time, in
/// milliseconds. Of a key the sum of its parts is enough: whoever makes up keys whose sums agree
/// replaces his own.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<(u64, i64)>);

#[derive(Debug, Default)]
pub(crate) struct NetworkTime {
    votes: Votes,
    counted: Option<Duration>,
    changed: bool,
    /// The network's time less that of our clock, in milliseconds, where they disagree.
    disagreement: Option<i64>,
    /// Since when our clock is said to be ahead.
    ahead_since: Option<Duration>,
    /// The vote that we sign by, in place of our clock.
    adopted: Option<i64>,
    last_told: Option<Duration>,
    last_complaint: Option<Duration>,
}

/// The votes in order, as far as they are asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    /// How many keys they stand on, counted up to [`KEYS_TO_SIGN`].
    keys: usize,
    lower_quartile: i64,
    upper_median: i64,
    upper_quartile: i64,
}

impl Times {
    fn hear(&mut self, key: &PublicKey, time: i64) {
        let (parts, _) = key.0.as_chunks();
        let key = (parts.iter()).fold(0, |sum, part| sum ^ u64::from_be_bytes(*part));
        if let Some(at) = self.0.iter().position(|(known, _)| *known == key) {
            self.0.remove(at);
        } else if self.0.len() >= KEYS_PER_PEERING {
            self.0.remove(0);
        } else {
            self.0.reserve_exact(1);
        }
        self.0.push((key, time));
    }

    /// The lower and the upper median.
    fn medians(&self) -> Option<(i64, i64)> {
        let mut times: Vec<_> = self.0.iter().map(|(_, time)| *time).collect();
        times.sort_unstable();
        let lower = times.get(times.len().saturating_sub(1) / 2)?;
        Some((*lower, *times.get(times.len() / 2)?))
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
        let votes = self.votes();
        let others = match votes.keys {
            0 => time,
            _ => time.max(self.unix_ms_of(votes.upper_quartile)),
        };
        if self.config.excessive_lead(last, others).is_some() {
            return time;
        }
        time.max(last.saturating_add(1))
    }

    /// The time of day that we sign with.
    pub(crate) fn signing_ms(&self) -> u64 {
        let adopted = self.network_time.adopted;
        adopted.map_or(self.now.unix_ms, |vote| self.unix_ms_of(vote))
    }

    /// Decides what time we sign with.
    fn adopt_time(&mut self, votes: &Votes) {
        let now = self.now.monotonic;
        let by = self.network_time.disagreement;
        let state = &mut self.network_time;
        state.ahead_since = match by {
            Some(by) if by < 0 => state.ahead_since.or(Some(now)),
            _ => None,
        };
        let doubted = state.ahead_since.is_some_and(|since| since + DOUBT <= now);
        let adopted = match by {
            Some(by) if by < 0 && (doubted || votes.keys >= KEYS_TO_SIGN) => {
                Some(votes.upper_quartile)
            }
            Some(by) if by > 0 && votes.keys >= KEYS_TO_SIGN => Some(votes.lower_quartile),
            _ => None,
        };
        let before = std::mem::replace(&mut state.adopted, adopted);
        if before.is_some() == adopted.is_some() {
            return;
        }
        self.snake.bootstrap_soon();
        let last = self.network_time.last_told;
        if last.is_none_or(|last| now >= last + TELL_GAP) {
            self.network_time.last_told = Some(now);
            self.broadcast_to_all();
        }
    }

    /// Once a second: looks whether our clock disagrees with the network, and says so once an hour.
    pub(crate) fn maintain_network_time(&mut self) {
        let votes = self.votes();
        self.network_time.disagreement = self.disagrees(&votes);
        self.adopt_time(&votes);
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
        let ahead = Some(most).filter(|most| *most < -far);
        let behind = Some(least).filter(|least| *least > far);
        ahead.or(behind).filter(|_| votes.keys > 0)
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
            .filter_map(|(_, peer)| Some((peer.key, peer.times.medians()?)))
            .collect();
        votes.sort_unstable();
        votes.dedup_by_key(|(key, _)| *key);
        let (mut lower, mut upper): (Vec<_>, Vec<_>) =
            votes.into_iter().map(|(_, medians)| medians).unzip();
        lower.sort_unstable();
        upper.sort_unstable();
        let mut keys = Vec::new();
        for (key, _) in self.peers.iter().flat_map(|(_, peer)| &peer.times.0) {
            if keys.len() < KEYS_TO_SIGN && !keys.contains(key) {
                keys.push(*key);
            }
        }
        let at = |votes: &[i64], index: usize| votes.get(index).copied().unwrap_or_default();
        let (last, quarter) = (lower.len().saturating_sub(1), lower.len() / 4);
        Votes {
            keys: keys.len(),
            lower_quartile: at(&lower, quarter),
            upper_median: at(&lower, lower.len() / 2),
            upper_quartile: at(&upper, last.saturating_sub(quarter)),
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
