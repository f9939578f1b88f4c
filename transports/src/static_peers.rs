//! Which static peers to dial, and when.
//!
//! [`StaticPeers`] decides, with the time handed in; a [driver](crate::Transports::keep_connected)
//! dials. A peer waits until its dial is due, then its name is looked up, and then it queues for one
//! of the dials that may run at a time. In the queue, peers that have not failed go first: a peer whose
//! good peering was lost does not wait behind thousands that never answer.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::PeerAddress;

/// The least wait of a peer that could not be tried.
const PUT_OFF: Duration = Duration::from_secs(1);

/// Names one static peer of one [`StaticPeers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticPeerId(usize);

impl StaticPeerId {
    /// Its place in the list.
    pub(crate) const fn index(self) -> usize {
        self.0
    }
}

/// When to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialSchedule {
    /// The longest wait after a failure: 5 min.
    pub longest_wait: Duration,
    /// How long a peering must last not to be a failure: 10 s. So a peer that takes us and throws us
    /// out is not dialled for ever at full pace.
    pub lasting_after: Duration,
    /// How long a peering must last to be good: 60 s. That sets the count of failures back, and the
    /// peer is dialled again at once when the peering is lost.
    pub settled_after: Duration,
    /// The peers of lost good peerings are dialled again at a random moment within this time, so that
    /// the many peers of a node that went do not come back in step: 1 s.
    pub spread: Duration,
}

impl Default for DialSchedule {
    fn default() -> Self {
        Self {
            longest_wait: Duration::from_secs(300),
            lasting_after: Duration::from_secs(10),
            settled_after: Duration::from_secs(60),
            spread: Duration::from_secs(1),
        }
    }
}

impl DialSchedule {
    /// The longest wait after the `failures`th failure in a row: 2^n s, up to the limit. The actual
    /// wait is a random part of it, three quarters at least.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        let seconds = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
        Duration::from_secs(seconds).min(self.longest_wait)
    }
}

/// What a static peer is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticPeerState {
    /// Not connected.
    Waiting {
        /// When it is dialled next, on the clock of the calls.
        until: Duration,
    },
    /// Its name is being looked up.
    Resolving,
    /// Looked up, and waiting for others' dials to end.
    Queued,
    /// Being dialled.
    Dialling,
    /// Connected.
    Connected {
        /// On the clock of the calls.
        since: Duration,
    },
}

/// One static peer, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticPeerStatus {
    /// As configured.
    pub address: PeerAddress,
    /// What it is at.
    pub state: StaticPeerState,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last attempt failed or the last peering ended. None once a peering has been good.
    pub last_error: Option<String>,
}

/// A peer to dial now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueDial {
    /// Which peer it is.
    pub id: StaticPeerId,
    /// As configured.
    pub peer: PeerAddress,
    /// What it was looked up to be.
    pub addresses: Vec<SocketAddr>,
    /// The peer has not failed yet and others queue behind it: it gets a short try now, and a full one
    /// after its first wait.
    pub short: bool,
}

/// The list of static peers and when to dial each. Time is handed in: a duration since any fixed
/// start, never going back.
pub struct StaticPeers {
    schedule: DialSchedule,
    peers: Vec<Peer>,
    random: StdRng,
}

#[derive(Debug)]
struct Peer {
    status: StaticPeerStatus,
    /// When it was due to be dialled.
    due: Duration,
    addresses: Vec<SocketAddr>,
}

impl StaticPeers {
    /// All of `addresses`, due at once. Waits are random, and the same for the same seed.
    #[must_use]
    pub fn new(schedule: DialSchedule, addresses: Vec<PeerAddress>, seed: u64) -> Self {
        let peer = |address| Peer {
            status: StaticPeerStatus {
                address,
                state: StaticPeerState::Waiting {
                    until: Duration::ZERO,
                },
                failures: 0,
                last_error: None,
            },
            due: Duration::ZERO,
            addresses: Vec::new(),
        };
        Self {
            schedule,
            peers: addresses.into_iter().map(peer).collect(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Returns when [`due`](Self::due) has something next, unless something else happens before.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        let waiting = self
            .peers
            .iter()
            .filter_map(|peer| match peer.status.state {
                StaticPeerState::Waiting { until } => Some(until),
                _ => None,
            });
        waiting.min()
    }

    /// The peers to look up now. Each counts as being looked up until [`resolved`](Self::resolved) or
    /// [`failed`](Self::failed) is called for it.
    pub fn due(&mut self, now: Duration) -> Vec<(StaticPeerId, PeerAddress)> {
        let mut due = Vec::new();
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if let StaticPeerState::Waiting { until } = peer.status.state
                && until <= now
            {
                peer.due = until;
                peer.status.state = StaticPeerState::Resolving;
                due.push((StaticPeerId(index), peer.status.address.clone()));
            }
        }
        due
    }

    /// The peer has these addresses: it queues for a dial.
    pub fn resolved(&mut self, id: StaticPeerId, addresses: Vec<SocketAddr>) {
        if let Some(peer) = self.in_state(id, |s| s == StaticPeerState::Resolving) {
            peer.addresses = addresses;
            peer.status.state = StaticPeerState::Queued;
        }
    }

    /// Whether any peer queues for a dial.
    #[must_use]
    pub fn any_queued(&self) -> bool {
        self.queued().next().is_some()
    }

    /// The next peer of the queue. It counts as being dialled until [`connected`](Self::connected) or
    /// [`failed`](Self::failed) is called for it.
    pub fn next_dial(&mut self) -> Option<DueDial> {
        let first = self.queued().min_by_key(|(index, peer)| {
            let failed = peer.status.failures > 0;
            (failed, peer.due, *index)
        });
        let (index, _) = first?;
        let alone = self.queued().nth(1).is_none();
        let peer = self.peers.get_mut(index)?;
        peer.status.state = StaticPeerState::Dialling;
        Some(DueDial {
            id: StaticPeerId(index),
            peer: peer.status.address.clone(),
            addresses: std::mem::take(&mut peer.addresses),
            short: peer.status.failures == 0 && !alone,
        })
    }

    /// The dialled peer is connected.
    pub fn connected(&mut self, now: Duration, id: StaticPeerId) {
        if let Some(peer) = self.in_state(id, |s| s == StaticPeerState::Dialling) {
            peer.status.state = StaticPeerState::Connected { since: now };
        }
    }

    /// The peer could not be looked up or connected. Returns the wait until it is tried again.
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

    /// The peer could not be tried for a reason of our own: it waits, which is no failure of its own.
    pub fn put_off(&mut self, now: Duration, id: StaticPeerId, error: String) {
        let wait = PUT_OFF.mul_f64(1.0 + self.random.random::<f64>());
        if let Some(peer) = self.in_state(id, |s| s == StaticPeerState::Dialling) {
            peer.status.last_error = Some(error);
            peer.status.state = StaticPeerState::Waiting { until: now + wait };
        }
    }

    /// The peering with a connected peer has ended, or never came to be.
    pub fn ended(&mut self, now: Duration, id: StaticPeerId, reason: String) {
        let schedule = self.schedule.clone();
        let Some(peer) = self.peers.get_mut(id.0) else {
            return;
        };
        let StaticPeerState::Connected { since } = peer.status.state else {
            return;
        };
        peer.status.last_error = Some(reason);
        let lasted = now.saturating_sub(since);
        if lasted >= schedule.settled_after {
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

    /// All of them at this time, in the list's order.
    #[must_use]
    pub fn status(&self, now: Duration) -> Vec<StaticPeerStatus> {
        let settled_after = self.schedule.settled_after;
        let status = |peer: &Peer| match peer.status.state {
            StaticPeerState::Connected { since } if now.saturating_sub(since) >= settled_after => {
                StaticPeerStatus {
                    failures: 0,
                    last_error: None,
                    ..peer.status.clone()
                }
            }
            _ => peer.status.clone(),
        };
        self.peers.iter().map(status).collect()
    }

    fn back_off(&mut self, now: Duration, id: StaticPeerId) -> Duration {
        let part = self.random.random_range(0.75..=1.0);
        let Some(peer) = self.peers.get_mut(id.0) else {
            return Duration::ZERO;
        };
        let wait = self.schedule.wait(peer.status.failures).mul_f64(part);
        peer.status.state = StaticPeerState::Waiting { until: now + wait };
        wait
    }

    fn queued(&self) -> impl Iterator<Item = (usize, &Peer)> {
        let peers = self.peers.iter().enumerate();
        peers.filter(|(_, peer)| peer.status.state == StaticPeerState::Queued)
    }

    fn in_state(
        &mut self,
        id: StaticPeerId,
        matching: impl Fn(StaticPeerState) -> bool,
    ) -> Option<&mut Peer> {
        let peer = self.peers.get_mut(id.0);
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
