//! The beginning and the end of peerings.

use pinecone_fib::PortId;
use tracing::{debug, warn};

use super::ControlPlane;
use crate::{CloseReason, Event, NewPeer, Now, Refused};

impl ControlPlane {
    /// Adds a peering over a stream whose handshake has completed. Assigns the lowest free port number, and queues this
    /// node's announcement.
    ///
    /// # Errors
    /// [`Refused`]: the driver must close the stream.
    pub fn connect(&mut self, now: Now, peer: NewPeer) -> Result<PortId, Refused> {
        self.set_now(now);
        if peer.key == self.cx.own {
            self.cx.counters.peers_own_key += 1;
            return Err(Refused::OwnKey);
        }
        let limit = self.cx.config.max_peers;
        let Some(port) = self.ports.take(limit) else {
            self.cx.counters.peers_over_limit += 1;
            return Err(Refused::TooMany { limit });
        };
        let NewPeer { key, link, .. } = peer;
        self.cx.peers.insert(self.cx.now.monotonic, port, peer);
        debug!(%port, %key, ?link, "peer added");
        self.cx.effects.event(Event::PeerAdded { port, key, link });
        self.tree.announce_to(&mut self.cx, port);
        Ok(port)
    }

    /// Records that the data plane has closed a port, whichever side initiated it. Its number is free again.
    pub fn closed(&mut self, now: Now, port: PortId) {
        self.set_now(now);
        if self.closing.remove(&port) {
            self.ports.release(port);
        } else if self.cx.peers.contains(port) {
            self.remove_peer(port, None);
            self.ports.release(port);
        }
    }

    /// Ends a peering, as if it had closed, and produces [`Effect::Close`](crate::Effect::Close).
    pub fn disconnect(&mut self, now: Now, port: PortId, reason: CloseReason) {
        self.set_now(now);
        self.close(port, reason);
    }

    /// Ends a peering at once. Its number stays in use until the data plane has closed the port.
    pub(super) fn close(&mut self, port: PortId, reason: CloseReason) {
        if !self.cx.peers.contains(port) {
            return;
        }
        self.cx.counters.peers_closed += 1;
        self.closing.insert(port);
        self.cx.effects.close(port, reason.clone());
        self.remove_peer(port, Some(&reason));
    }

    /// Ends the peerings whose peers sent no announcement in time.
    pub(super) fn close_unannounced(&mut self) {
        let within = self.cx.config.announce_within;
        while let Some((since, port)) = self.cx.peers.oldest_unannounced()
            && since + within <= self.cx.now.monotonic
        {
            self.cx.counters.peers_unannounced += 1;
            self.close(port, CloseReason::Unannounced { within });
        }
    }

    /// Removes a peering and everything learned from it. `reason` is why this node ended it. None: the stream closed.
    fn remove_peer(&mut self, port: PortId, reason: Option<&CloseReason>) {
        let Some(peer) = self.cx.peers.remove(port) else {
            return;
        };
        match reason {
            None => debug!(%port, key = %peer.key, reason = "stream closed", "peer removed"),
            Some(reason @ CloseReason::Requested) => {
                debug!(%port, key = %peer.key, %reason, "peer removed");
            }
            Some(reason) => warn!(%port, key = %peer.key, %reason, "peer removed"),
        }
        let announced = self.cx.rib.withdraw(port);
        self.tree.end_standby(&mut self.cx, port, &peer.key);
        self.broadcasts.forget_peering(peer.serial);
        self.snake
            .peer_removed(&mut self.cx, self.tree.position(), port, &peer.key);
        if self
            .tree
            .peer_removed(&mut self.cx, port, announced.as_ref())
        {
            self.snake.bootstrap_soon();
        }
        self.cx.effects.event(Event::PeerRemoved {
            port,
            key: peer.key,
        });
    }
}
