//! The network's time, for nodes whose own clock is wrong.
//!
//! Bootstraps and broadcasts tell when they were signed. Each peering has one vote: the median over the last few keys
//! that it brought. So a peer that makes up thousands of keys has no more weight than another. This node's own key and
//! frames do not count. With an even number of keys both medians are kept, and each decision uses the one that is less
//! likely to do harm.
//!
//! - A sequence is plausible if it is not too far ahead of this node's clock, or of the upper median of the votes. The
//!   network's time never excludes what the clock accepts. Wrong votes admit sequences, which harms only the keys that
//!   signed them, and not for long: a sequence that the clock would not accept does not make an earlier one stale. At
//!   least two keys must have been heard.
//! - The node signs with its own clock, unless three quarters of the votes say that it is ahead or behind by more than
//!   half of what others accept. At least three keys must have been heard. A node at the end of a line may only ever
//!   hear its neighbour's. If the clock is ahead, others refuse the node's bootstraps, so it believes a single key
//!   after a few seconds. That key's clock may be the wrong one, in which case its node soon finds out. If the clock is
//!   behind, that does harm for at most 70 s after a restart, so a single key is not believed.
//! - A node that begins to sign with another time tells its peers at once by a broadcast.
//!
//! Votes are relative to monotonic time, so that they outlive a correction of the clock.

use std::time::Duration;

use pinecone_fib::PortId;
use pinecone_wire::PublicKey;
use tracing::warn;

use crate::peers::Peers;
use crate::{Config, Now};

/// Number of keys that must have been heard before a sequence far ahead of the clock is accepted.
const KEYS_TO_ACCEPT: usize = 2;
/// Number of keys that must have been heard before the node signs with another time than its clock's.
const KEYS_TO_SIGN: usize = 3;
/// Time for which fewer keys must have said that the clock is ahead before the node believes them.
const DOUBT: Duration = Duration::from_secs(5);
/// Minimum time between two broadcasts because of another time.
const BROADCAST_GAP: Duration = Duration::from_secs(10);
/// Minimum time between two counts of the votes where there are many peerings.
const COUNT_GAP: Duration = Duration::from_secs(1);
/// Maximum number of peerings whose votes are counted whenever they are needed.
const FEW_PEERINGS: usize = 16;
/// Minimum time between two warnings.
const WARNING_GAP: Duration = Duration::from_secs(3600);

/// An estimate of the network's time, and the decision which time to sign with.
#[derive(Debug, Default)]
pub(crate) struct NetworkTime {
    votes: Votes,
    counted: Option<Duration>,
    /// Set if times have been heard since the votes were counted.
    changed: bool,
    /// The network's time minus the clock's, in milliseconds, where they disagree.
    disagreement: Option<i64>,
    /// The time since which the votes have said that the clock is ahead.
    ahead_since: Option<Duration>,
    /// The vote that the node signs by, instead of its clock.
    adopted: Option<i64>,
    last_broadcast: Option<Duration>,
    last_warning: Option<Duration>,
}

/// A change of the time that the node signs with. The node must bootstrap soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct TimeChange {
    /// Set if the node must also broadcast to its peers.
    pub(crate) broadcast: bool,
}

/// The quantiles of the votes that decisions need.
#[derive(Clone, Copy, Debug, Default)]
struct Votes {
    /// Number of keys behind the votes, counted up to [`KEYS_TO_SIGN`].
    keys: usize,
    lower_quartile: i64,
    upper_median: i64,
    upper_quartile: i64,
}

impl NetworkTime {
    /// Records that `key`, according to a frame from `port`, signed something at `sequence`.
    pub(crate) fn hear(
        &mut self,
        now: Now,
        peers: &mut Peers,
        port: PortId,
        key: &PublicKey,
        sequence: u64,
    ) {
        let time = to_i64(sequence).saturating_sub(monotonic_ms(now));
        self.changed |= peers.record_time(port, key, time);
    }

    /// Returns how far a sequence is ahead of the clock, in milliseconds, if that is too far both by the clock and by
    /// the network's time.
    pub(crate) fn excessive_lead(
        &mut self,
        config: &Config,
        now: Now,
        peers: &Peers,
        sequence: u64,
    ) -> Option<u64> {
        let lead = config.excessive_lead(sequence, now.unix_ms)?;
        let votes = self.votes(now, peers);
        if votes.keys < KEYS_TO_ACCEPT {
            return Some(lead);
        }
        let network = unix_ms_of(votes.upper_median, now).max(now.unix_ms);
        config.excessive_lead(sequence, network).map(|_| lead)
    }

    /// Returns the next sequence to sign after `last`: Unix milliseconds, and more than `last`. Only if `last` was so
    /// far ahead that others have refused it, the sequence starts again below it.
    pub(crate) fn sequence_after(
        &mut self,
        config: &Config,
        now: Now,
        peers: &Peers,
        last: u64,
    ) -> u64 {
        let time = self.signing_ms(now);
        let votes = self.votes(now, peers);
        let others = match votes.keys {
            0 => time,
            _ => time.max(unix_ms_of(votes.upper_quartile, now)),
        };
        if config.excessive_lead(last, others).is_some() {
            return time;
        }
        time.max(last.saturating_add(1))
    }

    /// Returns the Unix time that the node signs with, in milliseconds.
    pub(crate) fn signing_ms(&self, now: Now) -> u64 {
        self.adopted
            .map_or(now.unix_ms, |vote| unix_ms_of(vote, now))
    }

    /// Compares the clock with the network's time and decides which to sign with. Must be called once a second. Warns
    /// once an hour if they disagree.
    #[must_use]
    pub(crate) fn maintain(
        &mut self,
        config: &Config,
        now: Now,
        peers: &Peers,
    ) -> Option<TimeChange> {
        let votes = self.votes(now, peers);
        self.disagreement = disagreement(config, now, &votes);
        let change = self.adopt(now.monotonic, &votes);
        if let Some(by) = self.disagreement {
            self.warn(now.monotonic, by);
        }
        change
    }

    /// Returns the network's time minus the clock's, in milliseconds, where they disagree.
    pub(crate) fn disagreement(&self) -> Option<i64> {
        self.disagreement
    }

    fn adopt(&mut self, now: Duration, votes: &Votes) -> Option<TimeChange> {
        self.ahead_since = match self.disagreement {
            Some(by) if by < 0 => self.ahead_since.or(Some(now)),
            _ => None,
        };
        let doubted = self.ahead_since.is_some_and(|since| since + DOUBT <= now);
        let adopted = match self.disagreement {
            Some(by) if by < 0 && (doubted || votes.keys >= KEYS_TO_SIGN) => {
                Some(votes.upper_quartile)
            }
            Some(by) if by > 0 && votes.keys >= KEYS_TO_SIGN => Some(votes.lower_quartile),
            _ => None,
        };
        let before = std::mem::replace(&mut self.adopted, adopted);
        if before.is_some() == adopted.is_some() {
            return None;
        }
        let last = self.last_broadcast;
        let broadcast = last.is_none_or(|last| now >= last + BROADCAST_GAP);
        if broadcast {
            self.last_broadcast = Some(now);
        }
        Some(TimeChange { broadcast })
    }

    fn warn(&mut self, now: Duration, by: i64) {
        let last = self.last_warning;
        if last.is_none_or(|last| now >= last + WARNING_GAP) {
            self.last_warning = Some(now);
            let seconds = by.unsigned_abs() / 1000;
            match by < 0 {
                true => warn!(
                    seconds,
                    "this node's clock is ahead of the network's: set it"
                ),
                false => warn!(seconds, "this node's clock is behind the network's: set it"),
            }
        }
    }

    fn votes(&mut self, now: Now, peers: &Peers) -> Votes {
        let now = now.monotonic;
        let rested = self.counted.is_none_or(|last| now >= last + COUNT_GAP);
        if self.changed && (rested || peers.len() <= FEW_PEERINGS) {
            self.changed = false;
            self.counted = Some(now);
            self.votes = count_votes(peers);
        }
        self.votes
    }
}

/// Returns the network's time minus the clock's, if three quarters of the votes say that they are far apart.
fn disagreement(config: &Config, now: Now, votes: &Votes) -> Option<i64> {
    let own = to_i64(now.unix_ms);
    let far = config.max_sequence_lead.as_millis() / 2;
    let far = i64::try_from(far).unwrap_or(i64::MAX);
    let less_ours = |vote: i64| vote.saturating_add(monotonic_ms(now)).saturating_sub(own);
    let (least, most) = (
        less_ours(votes.lower_quartile),
        less_ours(votes.upper_quartile),
    );
    let ahead = Some(most).filter(|most| *most < -far);
    let behind = Some(least).filter(|least| *least > far);
    ahead.or(behind).filter(|_| votes.keys > 0)
}

fn count_votes(peers: &Peers) -> Votes {
    // Several peerings with one key have one vote.
    let mut votes: Vec<_> = (peers.iter())
        .filter_map(|(_, peer)| Some((peer.key, peer.times.medians()?)))
        .collect();
    votes.sort_unstable();
    votes.dedup_by_key(|(key, _)| *key);
    let (mut lower, mut upper): (Vec<_>, Vec<_>) =
        votes.into_iter().map(|(_, medians)| medians).unzip();
    lower.sort_unstable();
    upper.sort_unstable();
    let mut keys = Vec::new();
    for key in peers.iter().flat_map(|(_, peer)| peer.times.keys()) {
        if keys.len() < KEYS_TO_SIGN && !keys.contains(&key) {
            keys.push(key);
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

fn unix_ms_of(vote: i64, now: Now) -> u64 {
    u64::try_from(vote.saturating_add(monotonic_ms(now))).unwrap_or(0)
}

fn monotonic_ms(now: Now) -> i64 {
    i64::try_from(now.monotonic.as_millis()).unwrap_or(i64::MAX)
}

fn to_i64(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
