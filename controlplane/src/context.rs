//! The state that the tree, the snake and broadcasts share.

use pinecone_fib::PortId;
use pinecone_wire::{BuildError, Extensions, PublicKey, SignedBody};
use tracing::debug;

use crate::effects::Effects;
use crate::keys::Signer;
use crate::network_time::NetworkTime;
use crate::own_key::OwnKey;
use crate::peers::Peers;
use crate::position::Position;
use crate::rib::Rib;
use crate::{Config, Counters, Now};

/// The node's identity, configuration, time, peerings and routes, and the effects that its parts produce.
///
/// Each part of the control plane owns its state. It gets this to work with, and returns what other parts must do.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) own: PublicKey,
    pub(crate) signer: Signer,
    pub(crate) now: Now,
    pub(crate) peers: Peers,
    pub(crate) rib: Rib,
    pub(crate) network_time: NetworkTime,
    pub(crate) own_key: OwnKey,
    pub(crate) counters: Counters,
    pub(crate) effects: Effects,
}

impl Context {
    pub(crate) fn new(config: Config, signer: Signer, rib: Rib) -> Self {
        Self {
            config,
            own: signer.public_key(),
            signer,
            now: Now::default(),
            peers: Peers::default(),
            rib,
            network_time: NetworkTime::default(),
            own_key: OwnKey::default(),
            counters: Counters::default(),
            effects: Effects::default(),
        }
    }

    /// Sends a frame that was just built, unless it was too long.
    pub(crate) fn send_built(
        &mut self,
        port: PortId,
        frame: Vec<u8>,
        built: Result<(), BuildError>,
    ) {
        match built {
            Ok(()) => self.effects.send(port, frame),
            Err(error) => {
                self.counters.frames_too_long += 1;
                debug!(%port, %error, "frame not sent");
            }
        }
    }

    /// Signs a bootstrap or broadcast of this node.
    pub(crate) fn sign_body(&mut self, sequence: u64, position: &Position) -> SignedBody {
        self.counters.signatures_made += 1;
        let Position {
            root,
            root_sequence,
            ..
        } = *position;
        self.signer.sign_body(sequence, root, root_sequence)
    }

    /// Reports whether both sides of a peering offered to correct paths. Other peers receive only frames that a
    /// deployed node would send.
    pub(crate) fn corrects_paths_with(&self, port: PortId) -> bool {
        self.config.correct_paths
            && self
                .peers
                .get(port)
                .is_some_and(|peer| peer.extensions.contains(Extensions::BREAK_NOTICES))
    }

    /// Records the time at which `key` signed something that a peering brought.
    pub(crate) fn hear_time(&mut self, port: PortId, key: &PublicKey, sequence: u64) {
        if *key != self.own {
            let (time, peers) = (&mut self.network_time, &mut self.peers);
            time.hear(self.now, peers, port, key, sequence);
        }
    }

    /// Returns how far a sequence is ahead of this node's clock, in milliseconds, if that is too far both by that
    /// clock and by the network's time.
    pub(crate) fn excessive_lead(&mut self, sequence: u64) -> Option<u64> {
        let (config, peers) = (&self.config, &self.peers);
        let time = &mut self.network_time;
        time.excessive_lead(config, self.now, peers, sequence)
    }

    /// Reports whether another node signed a body that has this node's key. `highest` is the highest sequence that
    /// this node has sent in a body of that kind.
    pub(crate) fn is_own_body_elsewhere(&mut self, body: &SignedBody, highest: u64) -> bool {
        let signing_ms = self.network_time.signing_ms(self.now);
        let (now, counters) = (self.now, &mut self.counters);
        self.own_key
            .inspect_body(now, &self.own, body, highest.max(signing_ms), counters)
    }
}
