//! Keeping static peers connected (protocol section 9).

use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

use crate::descriptors;
use crate::static_peers::{DialSchedule, DueDial, StaticPeerId, StaticPeerStatus, StaticPeers};
use crate::{DialError, Established, PeerAddress, Transports};

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
        driver.lock().ended(driver.now(), id, reason);
        driver.changed.notify_one();
    }

    /// Returns the status of all static peers, in the order of the list.
    #[must_use]
    pub fn status(&self) -> Vec<StaticPeerStatus> {
        self.driver.lock().status(self.driver.now())
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
        addresses: Vec<PeerAddress>,
        schedule: DialSchedule,
        established: mpsc::Sender<Established>,
    ) -> StaticPeersHandle {
        let failures = vec![None; addresses.len()];
        let driver = Arc::new(Driver {
            started: Instant::now(),
            peers: Mutex::new(StaticPeers::new(schedule, addresses, rand::random())),
            changed: Notify::new(),
            logged: Mutex::new(failures),
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
    /// Notified when a peer may have become due or queued.
    changed: Notify,
    /// The kind of failure that was last logged for each peer since it was connected.
    logged: Mutex<Vec<Option<Discriminant<DialError>>>>,
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
        let mut tasks = JoinSet::new();
        loop {
            let due = self.lock().due(self.now());
            for (id, address) in due {
                let (driver, transports) = (self.clone(), transports.clone());
                tasks.spawn_local(async move { driver.resolve(&transports, id, address).await });
            }
            while tasks.try_join_next().is_some() {}
            let (any_queued, next_due) = {
                let peers = self.lock();
                (peers.any_queued(), peers.next_due())
            };
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
                    let Some(dial) = self.lock().next_dial() else { continue };
                    let (driver, transports) = (self.clone(), transports.clone());
                    let established = established.clone();
                    tasks.spawn_local(async move {
                        driver.dial(&transports, dial, permit, &established).await;
                    });
                    // The dial and the task that connects for it take their descriptors before the next check for room.
                    yield_now().await;
                    yield_now().await;
                }
                () = self.changed.notified() => {}
                () = until_due => {}
            }
        }
    }

    async fn resolve(&self, transports: &Transports, id: StaticPeerId, address: PeerAddress) {
        match transports.resolve(&address).await {
            Ok(addresses) => self.lock().resolved(id, addresses),
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
                // This must precede handing over the stream, as the node may report its end at once.
                self.lock().connected(self.now(), id);
                self.set_logged(id, None);
                // Fails only when the node is closing.
                drop(established.send(stream).await);
            }
            Err(error) => {
                self.failed(id, &peer, &error);
                self.changed.notify_one();
            }
        }
    }

    /// Records a failure. Logs it at INFO only if it is of another kind than the last one.
    fn failed(&self, id: StaticPeerId, address: &PeerAddress, error: &DialError) {
        if let DialError::Connect { source, .. } = error
            && descriptors::is_shortage(source)
        {
            self.lock().postpone(self.now(), id, error.to_string());
            tracing::debug!(%address, %error, "dial of static peer postponed");
            return;
        }
        let wait = self.lock().failed(self.now(), id, error.to_string());
        // A tenth of a second is precise enough for people.
        let wait_s = (wait.as_secs_f64() * 10.0).round() / 10.0;
        let kind = Some(discriminant(error));
        if self.set_logged(id, kind) == kind {
            tracing::debug!(%address, %error, wait_s, "static peer not connected");
        } else {
            tracing::info!(%address, %error, wait_s, "static peer not connected");
        }
    }

    fn set_logged(
        &self,
        id: StaticPeerId,
        kind: Option<Discriminant<DialError>>,
    ) -> Option<Discriminant<DialError>> {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let logged = logged.get_mut(id.index())?;
        std::mem::replace(logged, kind)
    }
}
