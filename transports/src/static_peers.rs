//! Keeping static peers connected (protocol section 9).
//!
//! [`StaticPeers`] decides, with the time handed in; a [driver](Transports::keep_connected) dials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::{DialError, Established, PeerAddress, Transports};

/// Names one static peer of one [`StaticPeers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticPeerId(usize);

/// When to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialSchedule {
    /// Time between two looks at the list: 5 s.
    pub look_every: Duration,
    /// The longest wait after a failure: 1 h.
    pub longest_wait: Duration,
    /// How long a peering must last to be a success: 10 s. One that ends sooner counts as a
    /// failure more, so that a peer that takes us and throws us out is not dialled for ever at
    /// full pace; one that lasts sets the count back to none.
    pub settled_after: Duration,
}

impl Default for DialSchedule {
    fn default() -> Self {
        Self {
            look_every: Duration::from_secs(5),
            longest_wait: Duration::from_secs(3600),
            settled_after: Duration::from_secs(10),
        }
    }
}

impl DialSchedule {
    /// The wait after the `failures`th failure in a row: 2^n s, up to the longest.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        let seconds = 1u64.checked_shl(failures).unwrap_or(u64::MAX);
        Duration::from_secs(seconds).min(self.longest_wait)
    }
}

/// What a static peer is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticPeerState {
    /// Not connected; to be dialled at the first look at or after `until`.
    Waiting {
        /// On the clock of the calls.
        until: Duration,
    },
    /// Being dialled.
    Dialling,
    /// Connected.
    Connected {
        /// On the clock of the calls.
        since: Duration,
    },
    /// It is ourselves: never dialled again.
    Ourselves,
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
    /// Why the last attempt failed. None once it has been connected.
    pub last_error: Option<String>,
}

/// The list of static peers and when to dial each. Time is handed in: a duration since any fixed
/// start, never going back.
#[derive(Clone, Debug)]
pub struct StaticPeers {
    schedule: DialSchedule,
    peers: Vec<StaticPeerStatus>,
    next_look: Duration,
}

impl StaticPeers {
    /// All of `addresses`, to be dialled at the first look, which is due at once.
    #[must_use]
    pub fn new(schedule: DialSchedule, addresses: Vec<PeerAddress>) -> Self {
        let waiting = |address| StaticPeerStatus {
            address,
            state: StaticPeerState::Waiting {
                until: Duration::ZERO,
            },
            failures: 0,
            last_error: None,
        };
        Self {
            schedule,
            peers: addresses.into_iter().map(waiting).collect(),
            next_look: Duration::ZERO,
        }
    }

    /// When [`look`](Self::look) is due.
    #[must_use]
    pub fn next_look(&self) -> Duration {
        self.next_look
    }

    /// Looks at the list: whom to dial now, in the list's order. Each counts as being dialled until
    /// [`connected`](Self::connected), [`failed`](Self::failed) or [`ourselves`](Self::ourselves)
    /// is called for it. Does nothing before it is due.
    pub fn look(&mut self, now: Duration) -> Vec<(StaticPeerId, PeerAddress)> {
        if now < self.next_look {
            return Vec::new();
        }
        self.next_look = now + self.schedule.look_every;
        let mut due = Vec::new();
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if matches!(peer.state, StaticPeerState::Waiting { until } if until <= now) {
                peer.state = StaticPeerState::Dialling;
                due.push((StaticPeerId(index), peer.address.clone()));
            }
        }
        due
    }

    /// The dialled peer is connected.
    pub fn connected(&mut self, now: Duration, id: StaticPeerId) {
        if let Some(peer) = self.in_state(id, |s| matches!(s, StaticPeerState::Dialling)) {
            peer.state = StaticPeerState::Connected { since: now };
            peer.last_error = None;
        }
    }

    /// The dialled peer could not be connected. Returns the wait until it may be dialled again.
    pub fn failed(&mut self, now: Duration, id: StaticPeerId) -> Duration {
        let schedule = self.schedule.clone();
        match self.in_state(id, |s| matches!(s, StaticPeerState::Dialling)) {
            Some(peer) => peer.failed(now, &schedule),
            None => Duration::ZERO,
        }
    }

    /// The dialled peer turned out to be this node: it is never dialled again.
    pub fn ourselves(&mut self, id: StaticPeerId) {
        if let Some(peer) = self.in_state(id, |s| matches!(s, StaticPeerState::Dialling)) {
            peer.state = StaticPeerState::Ourselves;
        }
    }

    /// The peering with a connected peer has ended. If it lasted, the peer is dialled at the next
    /// look; else this is one failure more.
    pub fn ended(&mut self, now: Duration, id: StaticPeerId) {
        let schedule = self.schedule.clone();
        let Some(peer) = self.peers.get_mut(id.0) else {
            return;
        };
        let StaticPeerState::Connected { since } = peer.state else {
            return;
        };
        if now.saturating_sub(since) >= schedule.settled_after {
            peer.failures = 0;
            peer.state = StaticPeerState::Waiting { until: now };
        } else {
            peer.failed(now, &schedule);
        }
    }

    /// All of them, in the list's order.
    #[must_use]
    pub fn status(&self) -> &[StaticPeerStatus] {
        &self.peers
    }

    fn in_state(
        &mut self,
        id: StaticPeerId,
        matching: impl Fn(StaticPeerState) -> bool,
    ) -> Option<&mut StaticPeerStatus> {
        self.peers.get_mut(id.0).filter(|peer| matching(peer.state))
    }
}

impl StaticPeerStatus {
    fn failed(&mut self, now: Duration, schedule: &DialSchedule) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = schedule.wait(self.failures);
        self.state = StaticPeerState::Waiting { until: now + wait };
        wait
    }
}

/// Speaks to the driver of static peers, from any thread. When the last clone is dropped, the
/// driver stops; established peerings stay.
#[derive(Clone, Debug)]
pub struct StaticPeersHandle {
    driver: Arc<Driver>,
    _task: Arc<AbortOnDrop>,
}

impl StaticPeersHandle {
    /// The node tells that the peering with a static peer has ended, or never came to be.
    pub fn ended(&self, id: StaticPeerId) {
        self.driver.lock().ended(self.driver.now(), id);
    }

    /// All of them, in the list's order.
    #[must_use]
    pub fn status(&self) -> Vec<StaticPeerStatus> {
        self.driver.lock().status().to_vec()
    }
}

impl Transports {
    /// Keeps `addresses` connected with a task of this runtime: dials, and sends what comes of it
    /// to `established`, with [`Established::static_peer`] set. The task ends when the receiver is
    /// dropped.
    #[must_use]
    pub fn keep_connected(
        &self,
        addresses: Vec<PeerAddress>,
        schedule: DialSchedule,
        established: mpsc::Sender<Established>,
    ) -> StaticPeersHandle {
        let driver = Arc::new(Driver {
            started: Instant::now(),
            peers: Mutex::new(StaticPeers::new(schedule, addresses)),
        });
        let (transports, running) = (self.clone(), driver.clone());
        let task = tokio::task::spawn_local(async move {
            tokio::select! {
                () = established.closed() => {}
                () = running.run(&transports, &established) => {}
            }
        });
        StaticPeersHandle {
            driver,
            _task: Arc::new(AbortOnDrop(task)),
        }
    }
}

#[derive(Debug)]
struct Driver {
    started: Instant,
    peers: Mutex<StaticPeers>,
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Driver {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, StaticPeers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(
        self: &Arc<Self>,
        transports: &Transports,
        established: &mpsc::Sender<Established>,
    ) {
        let mut dials = JoinSet::new();
        loop {
            let due = self.lock().look(self.now());
            for (id, address) in due {
                let (driver, transports) = (self.clone(), transports.clone());
                let established = established.clone();
                dials.spawn_local(async move {
                    driver.dial(&transports, id, &address, &established).await;
                });
            }
            let next_look = self.started + self.lock().next_look();
            while dials.try_join_next().is_some() {}
            sleep_until(next_look).await;
        }
    }

    async fn dial(
        &self,
        transports: &Transports,
        id: StaticPeerId,
        address: &PeerAddress,
        established: &mpsc::Sender<Established>,
    ) {
        match transports.dial(address).await {
            Ok(mut peer) => {
                peer.static_peer = Some(id);
                // Before the node has it, which may tell at once that it has ended.
                self.lock().connected(self.now(), id);
                // Fails only when the node is closing.
                drop(established.send(peer).await);
            }
            Err(error) if error.is_final() => {
                self.lock().ourselves(id);
                tracing::warn!(%address, "static peer is this node itself, not dialled again");
            }
            Err(error) => {
                let wait = {
                    let mut peers = self.lock();
                    if let Some(peer) = peers.peers.get_mut(id.0) {
                        peer.last_error = Some(error.to_string());
                    }
                    peers.failed(self.now(), id)
                };
                log_failure(address, &error, wait);
            }
        }
    }
}

fn log_failure(address: &PeerAddress, error: &DialError, wait: Duration) {
    let wait_s = wait.as_secs();
    tracing::info!(%address, %error, wait_s, "static peer not connected");
}
