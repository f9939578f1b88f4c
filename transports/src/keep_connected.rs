//! Keeping static peers connected (protocol section 9).

use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::task::{AbortHandle, JoinHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

use crate::descriptors;
use crate::static_peers::{DialSchedule, DueDial, StaticPeerId, StaticPeerStatus, StaticPeers};
use crate::{DialError, Established, PeerUri, Transports};

/// Time to connect in a short attempt: enough for the answer to the first SYN.
const SHORT_TRY: Duration = Duration::from_secs(1);
/// Pause before looking for a free descriptor again.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// A handle to the driver of static peers, for any thread. When the last clone is dropped, the driver
/// stops; established peerings stay.
#[derive(Clone, Debug)]
pub struct StaticPeersHandle {
    driver: Arc<Driver>,
    _task: Arc<AbortOnDrop>,
}

impl StaticPeersHandle {
    /// Tells the driver that the peering with a static peer has ended, or was not accepted.
    pub fn ended(&self, id: StaticPeerId, reason: String) {
        let driver = &self.driver;
        driver.lock().list.ended(driver.now(), id, reason);
        driver.changed.notify_one();
    }

    /// Adds a static peer to the end of the list and has it dialled. Returns `None` if the address is in
    /// the list already.
    pub fn add(&self, address: PeerUri) -> Option<StaticPeerId> {
        let driver = &self.driver;
        let added = driver.lock().list.add(driver.now(), address);
        driver.changed.notify_one();
        added
    }

    /// Removes a static peer from the list and ends its dial, if there is one. A stream that was
    /// established before may still be on its way to the receiver, and a peering stays up.
    ///
    /// Returns `None` if the address is not in the list.
    pub fn remove(&self, address: &PeerUri) -> Option<StaticPeerId> {
        let mut peers = self.driver.lock();
        let id = peers.list.remove(address)?;
        if let Some(attempt) = peers.attempts.remove(&id) {
            attempt.abort();
        }
        peers.logged.remove(&id);
        Some(id)
    }

    /// Reports whether a static peer is in the list. False after it was removed.
    #[must_use]
    pub fn contains(&self, id: StaticPeerId) -> bool {
        self.driver.lock().list.contains(id)
    }

    /// Returns the status of all static peers, in the order of the list.
    #[must_use]
    pub fn status(&self) -> Vec<StaticPeerStatus> {
        self.driver.lock().list.status(self.driver.now())
    }

    /// Returns the current time on the clock of [`StaticPeerStatus`].
    #[must_use]
    pub fn now(&self) -> Duration {
        self.driver.now()
    }
}

impl Transports {
    /// Keeps `addresses` connected with a task of this runtime. Sends the streams to `established`, with
    /// [`Established::static_peer`] set. The task ends when the receiver is dropped.
    #[must_use]
    pub fn keep_connected(
        &self,
        addresses: Vec<PeerUri>,
        schedule: DialSchedule,
        established: mpsc::Sender<Established>,
    ) -> StaticPeersHandle {
        let driver = Arc::new(Driver {
            started: Instant::now(),
            peers: Mutex::new(Peers {
                list: StaticPeers::new(schedule, addresses, rand::random()),
                attempts: BTreeMap::new(),
                logged: BTreeMap::new(),
            }),
            changed: Notify::new(),
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
    peers: Mutex<Peers>,
    /// Notified when a peer may have become due or queued.
    changed: Notify,
}

/// The static peers. The maps have no entries for peers that were removed.
#[derive(Debug)]
struct Peers {
    list: StaticPeers,
    /// The tasks that look up or dial a peer, which end when the peer is removed.
    attempts: BTreeMap<StaticPeerId, AbortHandle>,
    /// The kind of failure that was last logged for each peer since it was connected.
    logged: BTreeMap<StaticPeerId, Discriminant<DialError>>,
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

    fn lock(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(
        self: &Arc<Self>,
        transports: &Transports,
        established: &mpsc::Sender<Established>,
    ) {
        let mut tasks = JoinSet::new();
        loop {
            let (any_queued, next_due) = {
                let mut peers = self.lock();
                for (id, address) in peers.list.due(self.now()) {
                    let (driver, transports) = (self.clone(), transports.clone());
                    let attempt = async move { driver.resolve(&transports, id, address).await };
                    peers.attempts.insert(id, tasks.spawn_local(attempt));
                }
                (peers.list.any_queued(), peers.list.next_due())
            };
            while tasks.try_join_next().is_some() {}
            let until_due = async {
                match next_due {
                    Some(due) => sleep_until(self.started + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                permit = transports.dial_permit(), if any_queued => {
                    if !descriptors::has_room_for_dial() {
                        drop(permit);
                        sleep(ROOM_PAUSE).await;
                        continue;
                    }
                    if !self.start_dial(&mut tasks, transports, permit, established) {
                        continue;
                    }
                    // The dial and the task that connects for it take their descriptors before the
                    // next check for room.
                    yield_now().await;
                    yield_now().await;
                }
                () = self.changed.notified() => {}
                () = until_due => {}
            }
        }
    }

    /// Dials the next peer of the queue. Returns false if there is none.
    fn start_dial(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        transports: &Transports,
        permit: Option<OwnedSemaphorePermit>,
        established: &mpsc::Sender<Established>,
    ) -> bool {
        let mut peers = self.lock();
        let Some(dial) = peers.list.next_dial() else {
            return false;
        };
        let id = dial.id;
        let (driver, transports) = (self.clone(), transports.clone());
        let established = established.clone();
        let attempt = async move { driver.dial(&transports, dial, permit, &established).await };
        peers.attempts.insert(id, tasks.spawn_local(attempt));
        true
    }

    async fn resolve(&self, transports: &Transports, id: StaticPeerId, address: PeerUri) {
        match transports.resolve(&address).await {
            Ok(addresses) => self.ended_attempt(id).list.resolved(id, addresses),
            Err(error) => self.failed(id, &address, &error),
        }
        self.changed.notify_one();
    }

    async fn dial(
        &self,
        transports: &Transports,
        dial: DueDial,
        permit: Option<OwnedSemaphorePermit>,
        established: &mpsc::Sender<Established>,
    ) {
        let limit = transports.shared.limits.connect_timeout;
        let limit = if dial.short {
            limit.min(SHORT_TRY)
        } else {
            limit
        };
        let DueDial { id, peer, .. } = dial;
        let dialled = transports.dial_any(&peer, dial.addresses, limit, permit);
        match dialled.await {
            Ok(mut stream) => {
                stream.static_peer = Some(id);
                {
                    // This must precede handing over the stream, as the node may report its end at once.
                    let mut peers = self.ended_attempt(id);
                    peers.list.connected(self.now(), id);
                    peers.logged.remove(&id);
                }
                // Fails only when the node is closing.
                drop(established.send(stream).await);
            }
            Err(error) => {
                self.failed(id, &peer, &error);
                self.changed.notify_one();
            }
        }
    }

    /// Takes note that a lookup or a dial is over.
    fn ended_attempt(&self, id: StaticPeerId) -> MutexGuard<'_, Peers> {
        let mut peers = self.lock();
        peers.attempts.remove(&id);
        peers
    }

    /// Records a failure. Logs it at INFO only if it is of another kind than the last one.
    fn failed(&self, id: StaticPeerId, address: &PeerUri, error: &DialError) {
        let mut peers = self.ended_attempt(id);
        if !peers.list.contains(id) {
            return;
        }
        if let DialError::Connect { source, .. } = error
            && descriptors::is_shortage(source)
        {
            peers.list.postpone(self.now(), id, error.to_string());
            drop(peers);
            tracing::debug!(%address, %error, "dial of static peer postponed");
            return;
        }
        let wait = peers.list.failed(self.now(), id, error.to_string());
        let kind = discriminant(error);
        let is_logged = peers.logged.insert(id, kind) == Some(kind);
        drop(peers);
        // A tenth of a second is precise enough for people.
        let wait_s = (wait.as_secs_f64() * 10.0).round() / 10.0;
        if is_logged {
            tracing::debug!(%address, %error, wait_s, "static peer not connected");
        } else {
            tracing::info!(%address, %error, wait_s, "static peer not connected");
        }
    }
}
