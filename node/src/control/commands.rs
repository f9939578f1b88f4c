//! The commands of the node's callers and of its transports.

use std::time::SystemTime;

use pinecone_controlplane::NewPeer;
use pinecone_dataplane::{CloseReason, PortId, PortOptions};
use pinecone_transports::{PeerUri, StaticPeerId};
use tokio::sync::oneshot;

use super::Control;
use crate::command::{Command, NewPeering, Unclaimed};
use crate::peerings::Peering;
use crate::{Closed, ConnectError, Event, report};

impl Control {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Connect { peering, reply } => match reply {
                Some(reply) if reply.is_closed() => drop(peering),
                Some(reply) => drop(reply.send(self.connect(peering))),
                None if self.is_from_removed_peer(&peering) => drop(peering),
                // The transports made the stream, and no caller waits for a reply.
                None => {
                    let _ = self.connect(peering).map(Unclaimed::claim);
                }
            },
            Command::Abandon { port, serial } => {
                if self.peerings.release_stream(port, serial) {
                    self.disconnect(port);
                }
            }
            Command::Disconnect { port, reply } => {
                if self.peerings.wait_for_close(port, reply) {
                    self.disconnect(port);
                }
            }
            Command::Peers { reply } => {
                let _ = reply.send(self.peers());
            }
            Command::StaticPeers { reply } => {
                let _ = reply.send(report::static_peers(&self.parts.transports.static_peers));
            }
            Command::AddStaticPeer { address, reply } => {
                let added = self.parts.transports.static_peers.add(address);
                let _ = reply.send(added.is_some());
            }
            Command::RemoveStaticPeer { address, reply } => {
                self.remove_static_peer(&address, reply);
            }
            Command::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Command::Fail(error) => self.fail(error),
            Command::Close => self.closing = true,
            Command::TransportsEnded => self.transports_ended = true,
        }
    }

    fn connect(&mut self, new: NewPeering) -> Result<Unclaimed, ConnectError> {
        if self.closing {
            let cause = self.parts.failure.get().cloned();
            return Err(Closed { cause }.into());
        }
        let now = self.parts.clock.now();
        let NewPeering { key, link, .. } = new;
        let peer = NewPeer {
            key,
            link,
            extensions: new.extensions,
            priority: new.priority,
        };
        let port = match self.parts.control.connect(now, peer) {
            Ok(port) => port,
            Err(refused) => {
                tracing::info!(peer = %key, remote = new.remote, reason = %refused, "peering refused");
                self.static_peer_ended(new.static_peer, &refused);
                return Err(refused.into());
            }
        };
        let options = PortOptions {
            link,
            keepalives: new.keepalives,
        };
        let counters = self.dataplane.add_port(port, new.stream, options);
        tracing::info!(%port, peer = %key, remote = new.remote, "peering up");
        self.publish(Event::PeerAdded {
            port,
            key,
            link,
            remote: new.remote.clone(),
        });
        let peering = Peering {
            key,
            link,
            remote: new.remote,
            scheme: new.scheme,
            direction: new.direction,
            priority: new.priority,
            static_peer: new.static_peer,
            relay: new.relay,
            since: SystemTime::now(),
            up_at: now.monotonic,
            counters,
        };
        let serial = self.peerings.add(port, peering);
        self.carry_out();
        drop(new.place);
        Ok(Unclaimed::new(port, serial, self.parts.sender.clone()))
    }

    fn disconnect(&mut self, port: PortId) {
        let now = self.parts.clock.now();
        let reason = pinecone_controlplane::CloseReason::Requested;
        self.parts.control.disconnect(now, port, reason);
    }

    pub(super) fn remove_peering(&mut self, port: PortId, reason: &CloseReason) {
        let Some(removed) = self.peerings.remove(port, reason) else {
            return;
        };
        let key = removed.key;
        tracing::info!(%port, peer = %key, remote = removed.remote, %reason, "peering down");
        self.static_peer_ended(removed.static_peer, reason);
        self.publish(Event::PeerRemoved {
            port,
            key,
            reason: reason.clone(),
        });
        removed.reply();
    }

    fn remove_static_peer(&mut self, address: &PeerUri, reply: oneshot::Sender<bool>) {
        let Some(id) = self.parts.transports.static_peers.remove(address) else {
            let _ = reply.send(false);
            return;
        };
        if let Some(port) = self.peerings.wait_for_static_peer(id, reply) {
            self.disconnect(port);
        }
    }

    /// Reports whether a stream was dialled for a static peer that has been removed since.
    fn is_from_removed_peer(&self, new: &NewPeering) -> bool {
        let static_peers = &self.parts.transports.static_peers;
        new.static_peer.is_some_and(|id| !static_peers.contains(id))
    }

    pub(super) fn static_peer_ended(&self, peer: Option<StaticPeerId>, reason: &dyn ToString) {
        if let Some(id) = peer {
            self.parts
                .transports
                .static_peers
                .ended(id, reason.to_string());
        }
    }
}
