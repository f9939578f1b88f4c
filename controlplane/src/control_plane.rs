//! The state machine that connects the parts of the control plane.

mod frames;
mod peerings;
mod status;

use std::collections::BTreeSet;
use std::time::Duration;

use pinecone_fib::{FibWriter, PortId, Snapshot};
use pinecone_wire::timing::{BROADCAST_INTERVAL, MAINTENANCE_INTERVAL};
use pinecone_wire::{PublicKey, SecretKey};

use crate::broadcasts::Broadcasts;
use crate::context::Context;
use crate::keys::Signer;
use crate::periodic::Periodic;
use crate::ports::Ports;
use crate::rib::Rib;
use crate::snake::Snake;
use crate::tree::Tree;
use crate::{Config, Effect, Now};

/// The routing decisions of one node. See the documentation of the crate.
pub struct ControlPlane {
    /// The state that the parts below share.
    cx: Context,
    tree: Tree,
    snake: Snake,
    broadcasts: Broadcasts,
    /// The periodic timers. None before the first input.
    timers: Option<Timers>,
    ports: Ports,
    /// Peerings that this node ended and whose port numbers are not free yet.
    closing: BTreeSet<PortId>,
}

/// Periodic timers, started by the first input.
struct Timers {
    maintenance: Periodic,
    broadcast: Periodic,
}

impl ControlPlane {
    /// Creates a node with this key and no peers. Its timers start with the first input.
    #[must_use]
    pub fn new(config: Config, key: SecretKey, fib: FibWriter) -> Self {
        let signer = Signer::ed25519(key, config.max_cached_keys, config.max_cached_signatures);
        Self::with_signer(config, signer, fib)
    }

    /// Creates a node that verifies no signature and signs with zeros. For simulators only: never connect it to a real
    /// network.
    #[must_use]
    pub fn new_unsigned(config: Config, key: PublicKey, fib: FibWriter) -> Self {
        Self::with_signer(config, Signer::unsigned(key), fib)
    }

    /// Does what is due. Call it at [`Self::next_deadline`]. Earlier or later calls do no harm.
    pub fn tick(&mut self, now: Now) {
        self.set_now(now);
        self.snake.expire_routes(&mut self.cx);
        if self.tree.tick(&mut self.cx) {
            self.snake.bootstrap_soon();
        }
        let now = self.cx.now.monotonic;
        let maintenance = |timers: &mut Timers| timers.maintenance.take(now);
        if let Some(due) = self.timers.as_mut().and_then(maintenance) {
            self.maintain(due);
        }
        let broadcast = |timers: &mut Timers| timers.broadcast.take(now);
        if self.timers.as_mut().and_then(broadcast).is_some() {
            self.broadcast_to_all();
        }
    }

    /// Returns the monotonic time at which [`Self::tick`] next has something to do: zero before the first input.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let Some(timers) = &self.timers else {
            return Some(Duration::ZERO);
        };
        [
            Some(timers.maintenance.next()),
            Some(timers.broadcast.next()),
            self.cx.rib.next_expiry(),
            self.tree.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Publishes the changes of the forwarding tables. Call it once a batch, before sending the effects.
    pub fn publish(&mut self) {
        self.cx.rib.publish();
    }

    /// Returns the forwarding tables, unpublished changes included. For simulators, which have no workers to publish
    /// to.
    #[must_use]
    pub fn tables(&mut self) -> &Snapshot {
        self.cx.rib.tables()
    }

    /// Returns the next effect. The driver must carry out effects in this order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.cx.effects.pop()
    }
}

impl ControlPlane {
    fn with_signer(config: Config, signer: Signer, fib: FibWriter) -> Self {
        let own = signer.public_key();
        let tree = Tree::new(own);
        let mut rib = Rib::new(own, fib);
        let position = tree.position();
        rib.set_position(position.root(), position.coordinates.clone());
        Self {
            cx: Context::new(config, signer, rib),
            tree,
            snake: Snake::default(),
            broadcasts: Broadcasts::default(),
            timers: None,
            ports: Ports::default(),
            closing: BTreeSet::new(),
        }
    }

    /// Sets the time. The first call starts the timers.
    fn set_now(&mut self, now: Now) {
        self.cx.now = Now {
            monotonic: now.monotonic.max(self.cx.now.monotonic),
            unix_ms: now.unix_ms,
        };
        if self.timers.is_none() {
            let start = self.cx.now.monotonic;
            let phase = self.cx.config.wakeup_phase.unwrap_or(BROADCAST_INTERVAL);
            self.timers = Some(Timers {
                maintenance: Periodic::new(start, MAINTENANCE_INTERVAL),
                broadcast: Periodic::starting(start + phase, BROADCAST_INTERVAL),
            });
            self.tree.start(start);
        }
    }

    /// Does what is due once a second. `due` is when this was due.
    fn maintain(&mut self, due: Duration) {
        self.close_unannounced();
        let cx = &mut self.cx;
        if let Some(change) = cx.network_time.maintain(&cx.config, cx.now, &cx.peers) {
            self.snake.bootstrap_soon();
            if change.broadcast {
                self.broadcast_to_all();
            }
        }
        let has_parent = self.tree.parent().is_some();
        self.snake
            .maintain(&mut self.cx, self.tree.position(), has_parent, due);
        self.broadcasts.expire(self.cx.now.monotonic);
    }

    fn broadcast_to_all(&mut self) {
        self.broadcasts
            .send_to_all(&mut self.cx, self.tree.position());
    }
}
