//! The schedule of dials to static peers.
//!
//! [`StaticPeers`] decides, with the time passed in; a [driver](crate::Transports::keep_connected) dials. A peer waits
//! until its dial is due, then its name is looked up, then it queues for a permit to dial. Peers that have not failed
//! are served first: a peer whose good peering was lost does not wait behind thousands that never answer.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::PeerUri;

/// The least wait of a peer whose dial was postponed.
const POSTPONED: Duration = Duration::from_secs(1);

/// Identifies a static peer within its [`StaticPeers`]. A peer that is removed and added again gets
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticPeerId(u64);

/// The times of the dial schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialSchedule {
    /// The longest wait after a failure, for peers whose URI names none. Default: 5 min.
    pub longest_wait: Duration,
    /// A peering that ends sooner counts as a failure, so that a peer that accepts and then closes is
    /// not dialled again and again at full pace. Default: 10 s.
    pub lasting_after: Duration,
    /// A peering that has lasted this long is good: the count of failures is reset, and the peer is
    /// dialled at once when the peering is lost. Default: 60 s.
    pub good_after: Duration,
    /// After the loss of a good peering, the dial is delayed by a random part of this time, so that the
    /// peers of a node that has restarted do not dial it all at once. Default: 1 s.
    pub spread: Duration,
}

impl Default for DialSchedule {
    fn default() -> Self {
        Self {
            longest_wait: Duration::from_secs(300),
            lasting_after: Duration::from_secs(10),
            good_after: Duration::from_secs(60),
            spread: Duration::from_secs(1),
        }
    }
}

impl DialSchedule {
    /// Returns the longest wait after this number of failures in a row: 2^failures seconds, up to the
    /// limit. The actual wait is a random part of it, at least three quarters.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        wait(failures, self.longest_wait)
    }
}

fn wait(failures: u32, longest: Duration) -> Duration {
    let seconds = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).min(longest)
}

/// The state of a static peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticPeerState {
    /// The peer waits for its next dial.
    Waiting {
        /// The time of the next dial, on the clock of the caller.
        until: Duration,
    },
    /// The peer's name is being looked up.
    Resolving,
    /// The peer waits for a permit to dial.
    Queued,
    /// The peer is being dialled.
    Dialling,
    /// The peer is connected.
    Connected {
        /// The time of the connection, on the clock of the caller.
        since: Duration,
    },
}

/// The status of a static peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticPeerStatus {
    /// The address as configured.
    pub address: PeerUri,
    /// The state.
    pub state: StaticPeerState,
    /// Number of failures in a row.
    pub failures: u32,
    /// The reason why the last dial failed or the last peering ended. `None` once a peering is good.
    pub last_error: Option<String>,
}

/// A peer to dial now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDial {
    /// The peer.
    pub id: StaticPeerId,
    /// The address as configured.
    pub peer: PeerUri,
    /// The addresses that were looked up.
    pub addresses: Vec<SocketAddr>,
    /// True if the connect timeout is short now, because the peer has not failed yet and others queue
    /// behind it. The next attempt gets the full timeout.
    pub short: bool,
}

/// A list of static peers and the schedule of their dials. Time is passed in as the duration since a
/// fixed start, and never goes back.
pub struct StaticPeers {
    schedule: DialSchedule,
    /// In the order in which they were added.
    peers: BTreeMap<StaticPeerId, Peer>,
    next_id: u64,
    random: StdRng,
}

#[derive(Debug)]
struct Peer {
    status: StaticPeerStatus,
    /// The time at which its dial became due.
    due: Duration,
    addresses: Vec<SocketAddr>,
}

impl StaticPeers {
    /// Creates the list with all `addresses` due at once. The random waits depend on the seed alone.
    #[must_use]
    pub fn new(schedule: DialSchedule, addresses: Vec<PeerUri>, seed: u64) -> Self {
        let mut this = Self {
            schedule,
            peers: BTreeMap::new(),
            next_id: 0,
            random: StdRng::seed_from_u64(seed),
        };
        for address in addresses {
            this.insert(Duration::ZERO, address);
        }
        this
    }

    /// Adds a peer to the end of the list, due at once. Returns `None` if the address is in the list
    /// already.
    pub fn add(&mut self, now: Duration, address: PeerUri) -> Option<StaticPeerId> {
        match self.find(&address) {
            Some(_) => None,
            None => Some(self.insert(now, address)),
        }
    }

    /// Removes a peer from the list. Calls with its id have no effect from now on. Returns `None` if the
    /// address is not in the list.
    pub fn remove(&mut self, address: &PeerUri) -> Option<StaticPeerId> {
        let id = self.find(address)?;
        self.peers.remove(&id);
        Some(id)
    }

    /// Reports whether a peer is in the list.
    #[must_use]
    pub fn contains(&self, id: StaticPeerId) -> bool {
        self.peers.contains_key(&id)
    }

    /// Returns the time at which [`due`](Self::due) will next return a peer, unless another call changes that.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let waiting = self
            .peers
            .values()
            .filter_map(|peer| match peer.status.state {
                StaticPeerState::Waiting { until } => Some(until),
                _ => None,
            });
        waiting.min()
    }

    /// Returns the peers to look up now. Their state is [`Resolving`](StaticPeerState::Resolving) until
    /// [`resolved`](Self::resolved) or [`failed`](Self::failed) is called.
    pub fn due(&mut self, now: Duration) -> Vec<(StaticPeerId, PeerUri)> {
        let mut due = Vec::new();
        for (&id, peer) in &mut self.peers {
            if let StaticPeerState::Waiting { until } = peer.status.state
                && until <= now
            {
                peer.due = until;
                peer.status.state = StaticPeerState::Resolving;
                due.push((id, peer.status.address.clone()));
            }
        }
        due
    }

    /// Records the addresses of a peer and queues its dial.
    pub fn resolved(&mut self, id: StaticPeerId, addresses: Vec<SocketAddr>) {
        if let Some(peer) = self.in_state(id, |s| s == StaticPeerState::Resolving) {
            peer.addresses = addresses;
            peer.status.state = StaticPeerState::Queued;
        }
    }

    /// Reports whether any peer is queued.
    #[must_use]
    pub fn any_queued(&self) -> bool {
        self.queued().next().is_some()
    }

    /// Takes the next peer from the queue. Its state is [`Dialling`](StaticPeerState::Dialling) until
    /// [`connected`](Self::connected) or [`failed`](Self::failed) is called.
    pub fn next_dial(&mut self) -> Option<DueDial> {
        let first = self.queued().min_by_key(|(id, peer)| {
            let failed = peer.status.failures > 0;
            (failed, peer.due, *id)
        });
        let (id, _) = first?;
        let alone = self.queued().nth(1).is_none();
        let peer = self.peers.get_mut(&id)?;
        peer.status.state = StaticPeerState::Dialling;
        Some(DueDial {
            id,
            peer: peer.status.address.clone(),
            addresses: std::mem::take(&mut peer.addresses),
            short: peer.status.failures == 0 && !alone,
        })
    }

    /// Records that a dialled peer is connected.
    pub fn connected(&mut self, now: Duration, id: StaticPeerId) {
        if let Some(peer) = self.in_state(id, |s| s == StaticPeerState::Dialling) {
            peer.status.state = StaticPeerState::Connected { since: now };
        }
    }

    /// Records that a lookup or dial failed. Returns the wait until the next dial.
    pub fn failed(&mut self, now: Duration, id: StaticPeerId, error: String) -> Duration {
        let trying = |s| matches!(s, StaticPeerState::Resolving | StaticPeerState::Dialling);
        match self.in_state(id, trying) {
            Some(peer) => {
                peer.status.last_error = Some(error);
                peer.status.failures = peer.status.failures.saturating_add(1);
                self.back_off(now, id)
            }
            None => Duration::ZERO,
        }
    }

    /// Postpones a dial that could not be made for a local reason. This does not count as a failure.
    pub fn postpone(&mut self, now: Duration, id: StaticPeerId, error: String) {
        let wait = POSTPONED.mul_f64(1.0 + self.random.random::<f64>());
        if let Some(peer) = self.in_state(id, |s| s == StaticPeerState::Dialling) {
            peer.status.last_error = Some(error);
            peer.status.state = StaticPeerState::Waiting { until: now + wait };
        }
    }

    /// Records that the peering with a connected peer has ended, or was not accepted.
    pub fn ended(&mut self, now: Duration, id: StaticPeerId, reason: String) {
        let schedule = self.schedule.clone();
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let StaticPeerState::Connected { since } = peer.status.state else {
            return;
        };
        peer.status.last_error = Some(reason);
        let lasted = now.saturating_sub(since);
        if lasted >= schedule.good_after {
            peer.status.failures = 0;
            let until = now + schedule.spread.mul_f64(self.random.random::<f64>());
            peer.status.state = StaticPeerState::Waiting { until };
            return;
        }
        if lasted < schedule.lasting_after {
            peer.status.failures = peer.status.failures.saturating_add(1);
        }
        self.back_off(now, id);
    }

    /// Returns the status of all static peers at this time, in the order of the list.
    #[must_use]
    pub fn status(&self, now: Duration) -> Vec<StaticPeerStatus> {
        let good_after = self.schedule.good_after;
        let status = |peer: &Peer| match peer.status.state {
            StaticPeerState::Connected { since } if now.saturating_sub(since) >= good_after => {
                StaticPeerStatus {
                    failures: 0,
                    last_error: None,
                    ..peer.status.clone()
                }
            }
            _ => peer.status.clone(),
        };
        self.peers.values().map(status).collect()
    }

    fn back_off(&mut self, now: Duration, id: StaticPeerId) -> Duration {
        let part = self.random.random_range(0.75..=1.0);
        let Some(peer) = self.peers.get_mut(&id) else {
            return Duration::ZERO;
        };
        let longest = peer.status.address.max_backoff();
        let longest = longest.unwrap_or(self.schedule.longest_wait);
        let wait = wait(peer.status.failures, longest).mul_f64(part);
        peer.status.state = StaticPeerState::Waiting { until: now + wait };
        wait
    }

    fn find(&self, address: &PeerUri) -> Option<StaticPeerId> {
        let mut peers = self.peers.iter();
        let found = peers.find(|(_, peer)| peer.status.address == *address);
        found.map(|(&id, _)| id)
    }

    fn insert(&mut self, due: Duration, address: PeerUri) -> StaticPeerId {
        let id = StaticPeerId(self.next_id);
        self.next_id += 1;
        let status = StaticPeerStatus {
            address,
            state: StaticPeerState::Waiting { until: due },
            failures: 0,
            last_error: None,
        };
        let peer = Peer {
            status,
            due,
            addresses: Vec::new(),
        };
        self.peers.insert(id, peer);
        id
    }

    fn queued(&self) -> impl Iterator<Item = (StaticPeerId, &Peer)> {
        let peers = self.peers.iter().map(|(&id, peer)| (id, peer));
        peers.filter(|(_, peer)| peer.status.state == StaticPeerState::Queued)
    }

    fn in_state(
        &mut self,
        id: StaticPeerId,
        matching: impl Fn(StaticPeerState) -> bool,
    ) -> Option<&mut Peer> {
        let peer = self.peers.get_mut(&id);
        peer.filter(|peer| matching(peer.status.state))
    }
}

impl fmt::Debug for StaticPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticPeers")
            .field("schedule", &self.schedule)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}
