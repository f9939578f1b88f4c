use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use pinecone_fib::{FibWriter, Snapshot};
use pinecone_fib::{LinkType, PortId};
use pinecone_wire::timing::{BROADCAST_INTERVAL, MAINTENANCE_INTERVAL};
use pinecone_wire::{
    Announcement, BuildError, Extensions, Frame, PublicKey, SecretKey, SignedBody,
};
use tracing::{debug, warn};

use crate::breaks;
use crate::broadcasts::Broadcasts;
use crate::keys::Signer;
use crate::network_time::NetworkTime;
use crate::own_key::OwnKey;
use crate::peers::Peers;
use crate::periodic::Periodic;
use crate::ports::Ports;
use crate::rib::{Announced, Rib, Room};
use crate::snake::Snake;
use crate::tree::Tree;
use crate::verify::{Check, Claim, Unverified, Verified};
use crate::{CloseReason, Config, Counters, Effect, Event, PeerStatus, Refused, Status};

/// The time, handed in with every input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed start. Time that goes backwards is taken to stand still.
    pub monotonic: Duration,
    /// Unix milliseconds, for sequences.
    pub unix_ms: u64,
}

/// A stream that finished its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPeer {
    /// The key that the peer claims.
    pub key: PublicKey,
    /// What the stream runs over.
    pub link: LinkType,
    /// What the peer offers beyond the protocol.
    pub extensions: Extensions,
}

/// One node's routing decisions: see the crate's text.
pub struct ControlPlane {
    pub(crate) config: Config,
    pub(crate) own: PublicKey,
    pub(crate) signer: Signer,
    pub(crate) rib: Rib,
    pub(crate) now: Now,
    clocks: Option<Clocks>,
    pub(crate) ports: Ports,
    /// Peerings that we ended and whose number is not free yet.
    closing: BTreeSet<PortId>,
    pub(crate) peers: Peers,
    pub(crate) tree: Tree,
    pub(crate) snake: Snake,
    pub(crate) broadcasts: Broadcasts,
    pub(crate) network_time: NetworkTime,
    pub(crate) own_key: OwnKey,
    pub(crate) counters: Counters,
    effects: VecDeque<Effect>,
}

/// What began with the first input.
struct Clocks {
    maintenance: Periodic,
    broadcast: Periodic,
}

impl NewPeer {
    /// A peer that offers no extensions.
    #[must_use]
    pub const fn new(key: PublicKey, link: LinkType) -> Self {
        Self {
            key,
            link,
            extensions: Extensions::NONE,
        }
    }
}

impl ControlPlane {
    /// A node with this key and no peers. Its clocks start with the first input, or the first
    /// [`Self::tick`].
    #[must_use]
    pub fn new(config: Config, key: SecretKey, fib: FibWriter) -> Self {
        let signer = Signer::ed25519(key, config.max_cached_keys, config.max_cached_signatures);
        Self::with_signer(config, signer, fib)
    }

    /// For simulators only: a node that checks no signature and whose own are zeros. Never peer
    /// one with anything real.
    #[must_use]
    pub fn new_unsigned(config: Config, key: PublicKey, fib: FibWriter) -> Self {
        Self::with_signer(config, Signer::unsigned(key), fib)
    }

    /// A stream finished its handshake: gives it the lowest free port number and queues our
    /// announcement for it.
    ///
    /// # Errors
    /// [`Refused`]: close the stream.
    pub fn connect(&mut self, now: Now, peer: NewPeer) -> Result<PortId, Refused> {
        self.set_now(now);
        if peer.key == self.own {
            self.counters.peers_own_key += 1;
            return Err(Refused::OwnKey);
        }
        let limit = self.config.max_peers;
        let Some(port) = self.ports.take(limit) else {
            self.counters.peers_over_limit += 1;
            return Err(Refused::TooMany { limit });
        };
        self.add_peer(port, peer);
        Ok(port)
    }

    /// The data plane says that a port is closed, whoever closed it: its number is free again.
    pub fn closed(&mut self, now: Now, port: PortId) {
        self.set_now(now);
        if self.closing.remove(&port) {
            self.ports.release(port);
        } else if self.peers.contains(port) {
            self.remove_peer(port, None);
            self.ports.release(port);
        }
    }

    /// The operator wishes a peering to end: as if it had closed, and [`Effect::Close`].
    pub fn disconnect(&mut self, now: Now, port: PortId, reason: CloseReason) {
        self.set_now(now);
        self.close(port, reason);
    }

    /// A whole protocol frame came. Frames for ports that are gone are ignored.
    pub fn frame(&mut self, now: Now, port: PortId, frame: &[u8]) {
        if let Some((unverified, room)) = self.admit_frame(now, port, frame) {
            self.act_on(unverified.verify(), room);
        }
    }

    /// The first part of [`Self::frame`], for drivers that check signatures elsewhere: what needs no
    /// check is dealt with, the rest comes back. What comes back for one peering must be
    /// [applied](Self::apply) in the order in which it came, and nothing more of it admitted before
    /// what [holds up](Unverified::holds_up) the rest is.
    #[must_use = "the frame is lost otherwise"]
    pub fn admit(&mut self, now: Now, port: PortId, frame: &[u8]) -> Option<Unverified> {
        let (unverified, _) = self.admit_frame(now, port, frame)?;
        Some(unverified)
    }

    /// The last part of [`Self::frame`]. Things may have changed since it was admitted, so it is
    /// asked again whether the frame would be taken.
    pub fn apply(&mut self, now: Now, verified: Verified) {
        self.set_now(now);
        let peer = self.peers.get(verified.port);
        if peer.is_none_or(|peer| peer.serial != verified.serial) {
            return;
        }
        if let Claim::Announcement(announcement) = &verified.claim
            && !self.admit_announcement(verified.port, announcement)
        {
            return;
        }
        self.act_on(verified, None);
    }

    /// Runs what is due. Call it at [`Self::next_deadline`]; earlier or later does no harm.
    pub fn tick(&mut self, now: Now) {
        self.set_now(now);
        self.expire_routes();
        self.tick_tree();
        let monotonic = self.now.monotonic;
        let due = |clock: &mut Periodic| clock.take(monotonic);
        if let Some(due) = self.clocks.as_mut().and_then(|c| due(&mut c.maintenance)) {
            self.maintain_peers();
            self.maintain_network_time();
            self.maintain_snake(due);
            self.broadcasts.forget(monotonic);
        }
        if self
            .clocks
            .as_mut()
            .and_then(|c| due(&mut c.broadcast))
            .is_some()
        {
            self.broadcast_to_all();
        }
    }

    /// The monotonic time at which [`Self::tick`] has something to do. Before the first input that
    /// is at once.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        let Some(clocks) = &self.clocks else {
            return Some(Duration::ZERO);
        };
        [
            Some(clocks.maintenance.next()),
            Some(clocks.broadcast.next()),
            self.rib.next_expiry(),
            self.next_tree_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Publishes what changed in the tables. Call it once a batch, before sending the effects.
    pub fn publish(&mut self) {
        self.rib.publish();
    }

    /// The tables as they are, changes not yet published included: for simulators, which have no
    /// workers to publish them to.
    #[must_use]
    pub fn tables(&mut self) -> &Snapshot {
        self.rib.tables()
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Our own key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.own
    }

    /// Where the node stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let position = self.tree.position();
        Status {
            key: self.own,
            root: position.root,
            root_sequence: position.root_sequence,
            own_sequence: self.tree.own_sequence(),
            parent: self
                .tree
                .parent()
                .and_then(|port| Some((port, self.peers.get(port)?.key))),
            waiting: self.tree.is_waiting(),
            coordinates: position.coordinates.clone(),
            descending: self.snake.descending(),
            clock_behind_ms: self.network_time.disagreement(),
            peers: self.peers.len(),
            routes: self.rib.routes().len(),
        }
    }

    /// All live peerings, by port.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.peers
            .iter()
            .map(|(port, peer)| (port, peer, self.rib.announced(port)))
            .map(|(port, peer, announced)| PeerStatus {
                port,
                key: peer.key,
                link: peer.link,
                up: self.now.monotonic.saturating_sub(peer.connected),
                root: announced.map(Announced::root),
                coordinates: announced.map(|a| a.peer_coordinates.clone()),
                parent: self.tree.parent() == Some(port),
                routes: self.rib.routes().learned_from(port),
            })
            .collect()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            keys_dropped: self.signer.keys_dropped(),
            signatures_dropped: self.signer.signatures_dropped(),
            sequences_forgotten: self.snake.sequences_forgotten(),
            ..self.counters
        }
    }
}

impl ControlPlane {
    fn with_signer(config: Config, signer: Signer, fib: FibWriter) -> Self {
        let own = signer.public_key();
        let tree = Tree::new(own);
        let mut rib = Rib::new(own, fib);
        let position = tree.position();
        rib.set_position(
            (position.root, position.root_sequence),
            position.coordinates.clone(),
        );
        Self {
            config,
            own,
            signer,
            rib,
            now: Now::default(),
            clocks: None,
            ports: Ports::default(),
            closing: BTreeSet::new(),
            peers: Peers::default(),
            tree,
            snake: Snake::default(),
            broadcasts: Broadcasts::default(),
            network_time: NetworkTime::default(),
            own_key: OwnKey::default(),
            counters: Counters::default(),
            effects: VecDeque::new(),
        }
    }

    /// With what must give way for a bootstrap.
    fn admit_frame(
        &mut self,
        now: Now,
        port: PortId,
        frame: &[u8],
    ) -> Option<(Unverified, Option<Room>)> {
        self.set_now(now);
        let serial = self.peers.get(port)?.serial;
        let (header, frame) = match Frame::parse(frame) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.counters.frames_malformed += 1;
                self.close(port, error.into());
                return None;
            }
        };
        let header = (header.extra, header.hop_limit);
        let mut room = None;
        let (claim, check) = match frame {
            Frame::Announcement { payload } => {
                self.counters.announcements += 1;
                let announcement = match Announcement::decode(payload) {
                    Ok(announcement) => announcement,
                    Err(error) => {
                        self.refuse_announcement(port, error);
                        return None;
                    }
                };
                if !self.admit_announcement(port, &announcement) {
                    return None;
                }
                let check = self.signer.check_announcement(&announcement);
                if let Check::Entries { from, .. } = &check {
                    self.counters.signatures_known += *from as u64;
                }
                (Claim::Announcement(announcement), check)
            }
            Frame::Bootstrap { .. } | Frame::Broadcast { .. } if !self.has_announced(port) => {
                self.counters.frames_unannounced += 1;
                return None;
            }
            Frame::Bootstrap {
                key,
                watermark,
                payload,
            } => {
                self.counters.bootstraps += 1;
                let body = match SignedBody::decode(payload) {
                    Ok((body, _)) => body,
                    Err(error) => {
                        self.counters.bootstraps_malformed += 1;
                        debug!(%port, %key, %error, "bootstrap dropped");
                        return None;
                    }
                };
                if self.corrects_paths_with(port) && breaks::is_notice(&key, &watermark, &body) {
                    self.counters.break_notices += 1;
                    let sequence = body.sequence;
                    (Claim::Notice { key, sequence }, Check::Nothing)
                } else {
                    self.hear_time(port, &key, body.sequence);
                    room = Some(self.admit_bootstrap(port, &key, &watermark, &body)?);
                    let claim = Claim::Bootstrap {
                        header,
                        key,
                        watermark,
                        body,
                    };
                    (claim, self.signer.check_body(&key))
                }
            }
            Frame::Broadcast { key, payload } => {
                self.counters.broadcasts += 1;
                let body = match SignedBody::decode(payload) {
                    Ok((body, _)) => body,
                    Err(error) => {
                        self.close(port, CloseReason::Broadcast(error));
                        return None;
                    }
                };
                self.hear_time(port, &key, body.sequence);
                if !self.admit_broadcast(serial, &key, &body) {
                    return None;
                }
                let claim = Claim::Broadcast { header, key, body };
                (claim, self.signer.check_body(&key))
            }
            Frame::Keepalive | Frame::Traffic(_) | Frame::Unknown(_) => {
                self.counters.frames_unexpected += 1;
                return None;
            }
        };
        let unverified = Unverified {
            claim,
            port,
            serial,
            check,
        };
        Some((unverified, room))
    }

    /// `room` is what must give way for a bootstrap; none: things may have changed since it was
    /// admitted.
    fn act_on(&mut self, verified: Verified, room: Option<Room>) {
        let Verified {
            claim,
            port,
            verdict,
            keys,
            checked,
            ..
        } = verified;
        self.counters.signatures_checked += checked;
        self.signer.learn(keys);
        match claim {
            Claim::Announcement(announcement) => {
                self.handle_announcement(port, announcement, verdict);
            }
            Claim::Bootstrap {
                header,
                key,
                watermark,
                body,
            } => {
                if verdict.is_err() {
                    self.counters.bootstraps_bad_signature += 1;
                    debug!(%port, %key, "badly signed bootstrap dropped");
                } else if let Some(room) =
                    room.or_else(|| self.admit_bootstrap(port, &key, &watermark, &body))
                {
                    self.handle_bootstrap(port, header, key, watermark, &body, room);
                }
            }
            Claim::Broadcast { header, key, body } => {
                if verdict.is_err() {
                    self.count_offence(port);
                } else {
                    self.handle_broadcast(port, header, key, &body);
                }
            }
            Claim::Notice { key, sequence } => self.handle_notice(port, key, sequence),
        }
    }

    pub(crate) fn set_now(&mut self, now: Now) {
        self.now = Now {
            monotonic: now.monotonic.max(self.now.monotonic),
            unix_ms: now.unix_ms,
        };
        if self.clocks.is_none() {
            let start = self.now.monotonic;
            let phase = self.config.wakeup_phase.unwrap_or(BROADCAST_INTERVAL);
            self.clocks = Some(Clocks {
                maintenance: Periodic::new(start, MAINTENANCE_INTERVAL),
                broadcast: Periodic::starting(start + phase, BROADCAST_INTERVAL),
            });
            self.tree.start(start);
        }
    }

    pub(crate) fn has_announced(&self, port: PortId) -> bool {
        self.peers.get(port).is_some_and(|p| p.announced.is_some())
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.effects.push_back(Effect::Event(event));
    }

    pub(crate) fn send(&mut self, port: PortId, frame: Vec<u8>) {
        self.effects.push_back(Effect::Send { port, frame });
    }

    /// Sends a frame that was just built, unless it did not fit.
    pub(crate) fn send_built(
        &mut self,
        port: PortId,
        frame: Vec<u8>,
        built: Result<(), BuildError>,
    ) {
        match built {
            Ok(()) => self.send(port, frame),
            Err(error) => {
                self.counters.frames_too_long += 1;
                debug!(%port, %error, "frame not sent");
            }
        }
    }

    /// Ends a peering at once; its number is kept until the data plane has closed the port.
    pub(crate) fn close(&mut self, port: PortId, reason: CloseReason) {
        if !self.peers.contains(port) {
            return;
        }
        self.counters.peers_closed += 1;
        self.closing.insert(port);
        self.effects.push_back(Effect::Close {
            port,
            reason: reason.clone(),
        });
        self.remove_peer(port, Some(&reason));
    }

    pub(crate) fn add_peer(&mut self, port: PortId, peer: NewPeer) {
        let NewPeer { key, link, .. } = peer;
        self.peers.insert(self.now.monotonic, port, peer);
        debug!(%port, %key, ?link, "peer added");
        self.event(Event::PeerAdded { port, key, link });
        self.send_announcement(port);
    }

    /// `reason` is why we end it; none where the stream closed.
    fn remove_peer(&mut self, port: PortId, reason: Option<&CloseReason>) {
        let Some(peer) = self.peers.remove(port) else {
            return;
        };
        match reason {
            None => debug!(%port, key = %peer.key, reason = "stream closed", "peer removed"),
            Some(reason @ CloseReason::Requested) => {
                debug!(%port, key = %peer.key, %reason, "peer removed");
            }
            Some(reason) => warn!(%port, key = %peer.key, %reason, "peer removed"),
        }
        let announced = self.rib.withdraw(port);
        self.broadcasts.forget_peering(peer.serial);
        self.forget_routes(port, peer.key);
        self.forget_announcement(port, announced.as_ref());
        self.event(Event::PeerRemoved {
            port,
            key: peer.key,
        });
    }

    /// Ends the peerings that never announced themselves.
    fn maintain_peers(&mut self) {
        let within = self.config.announce_within;
        while let Some((since, port)) = self.peers.oldest_unannounced()
            && since + within <= self.now.monotonic
        {
            self.counters.peers_unannounced += 1;
            self.close(port, CloseReason::Unannounced { within });
        }
    }
}
