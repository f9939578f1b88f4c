//! The processing of protocol frames, in the three steps that [`crate::verify`] describes.

use pinecone_fib::PortId;
use pinecone_wire::{
    Announcement, AnnouncementError, Frame, PublicKey, SignedBody, SignedBodyError, Watermark,
};
use tracing::debug;

use super::ControlPlane;
use crate::snake::{Acceptance, is_notice};
use crate::verify::{Bootstrap, Check, Claim, Unverified, Verified};
use crate::{CloseReason, Now, tree};

impl ControlPlane {
    /// Handles a whole protocol frame. Frames for ports without a peering are ignored.
    pub fn frame(&mut self, now: Now, port: PortId, frame: &[u8]) {
        if let Some((unverified, acceptance)) = self.admit_frame(now, port, frame) {
            self.act_on(unverified.verify(), acceptance);
        }
    }

    /// Does the first step of [`Self::frame`], for drivers that verify signatures elsewhere. Handles what needs no
    /// verification, and returns the rest.
    ///
    /// The frames returned for one peering must be [applied](Self::apply) in order. A frame that [holds
    /// up](Unverified::holds_up) the others must be applied before another from its peering is admitted.
    #[must_use = "the frame is lost otherwise"]
    pub fn admit(&mut self, now: Now, port: PortId, frame: &[u8]) -> Option<Unverified> {
        let (unverified, _) = self.admit_frame(now, port, frame)?;
        Some(unverified)
    }

    /// Does the last step of [`Self::frame`]. Decides again whether the frame is accepted, as the state may have
    /// changed since it was admitted.
    pub fn apply(&mut self, now: Now, verified: Verified) {
        self.set_now(now);
        let peer = self.cx.peers.get(verified.port);
        let Some(peer) = peer.filter(|peer| peer.serial == verified.serial) else {
            return;
        };
        if let Claim::Announcement(announcement) = &verified.claim {
            let key = peer.key;
            if !self.admit_announcement(verified.port, &key, announcement) {
                return;
            }
        }
        self.act_on(verified, None);
    }
}

impl ControlPlane {
    /// Also returns the effect of a bootstrap.
    fn admit_frame(
        &mut self,
        now: Now,
        port: PortId,
        frame: &[u8],
    ) -> Option<(Unverified, Option<Acceptance>)> {
        self.set_now(now);
        let peer = self.cx.peers.get(port)?;
        let (peer_key, serial) = (peer.key, peer.serial);
        let announced = peer.announced.is_some();
        let (header, frame) = match Frame::parse(frame) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.cx.counters.frames_malformed += 1;
                self.close(port, error.into());
                return None;
            }
        };
        let header = (header.extra, header.hop_limit);
        let mut acceptance = None;
        let (claim, check) = match frame {
            Frame::Announcement { payload } => {
                self.cx.counters.announcements += 1;
                let announcement = Announcement::decode(payload);
                let announcement = announcement
                    .map_err(|error| self.refuse(port, error))
                    .ok()?;
                if !self.admit_announcement(port, &peer_key, &announcement) {
                    return None;
                }
                let check = self.cx.signer.check_announcement(&announcement);
                if let Check::Entries { from, .. } = &check {
                    self.cx.counters.signatures_known += *from as u64;
                }
                (Claim::Announcement(announcement), check)
            }
            Frame::Bootstrap { .. } | Frame::Broadcast { .. } if !announced => {
                self.cx.counters.frames_unannounced += 1;
                return None;
            }
            Frame::Bootstrap {
                key,
                watermark,
                payload,
            } => {
                let bootstrap = self.decode_bootstrap(port, header, key, watermark, payload)?;
                if self.cx.corrects_paths_with(port) && is_notice(&bootstrap) {
                    self.cx.counters.break_notices += 1;
                    let sequence = bootstrap.body.sequence;
                    (Claim::Notice { key, sequence }, Check::Nothing)
                } else {
                    self.cx.hear_time(port, &key, bootstrap.body.sequence);
                    let via = self.in_use(port);
                    let position = self.tree.position();
                    let accepted = self.snake.admit(&mut self.cx, position, via, &bootstrap)?;
                    acceptance = Some(accepted);
                    (Claim::Bootstrap(bootstrap), self.cx.signer.check_body(&key))
                }
            }
            Frame::Broadcast { key, payload } => {
                self.cx.counters.broadcasts += 1;
                let body = match SignedBody::decode(payload) {
                    Ok((body, _)) => body,
                    Err(error) => {
                        self.close(port, CloseReason::Broadcast(error));
                        return None;
                    }
                };
                self.cx.hear_time(port, &key, body.sequence);
                let position = self.tree.position();
                if !(self.broadcasts).admit(&mut self.cx, position, serial, &key, &body) {
                    return None;
                }
                let claim = Claim::Broadcast { header, key, body };
                (claim, self.cx.signer.check_body(&key))
            }
            Frame::Keepalive | Frame::Traffic(_) | Frame::Unknown(_) => {
                self.cx.counters.frames_unexpected += 1;
                return None;
            }
        };
        let unverified = Unverified {
            claim,
            port,
            serial,
            check,
        };
        Some((unverified, acceptance))
    }

    /// Decodes a bootstrap. Counts and drops it if it is malformed.
    fn decode_bootstrap(
        &mut self,
        port: PortId,
        header: (u8, u8),
        key: PublicKey,
        watermark: Watermark,
        payload: &[u8],
    ) -> Option<Bootstrap> {
        self.cx.counters.bootstraps += 1;
        let dropped = |error: SignedBodyError| {
            self.cx.counters.bootstraps_malformed += 1;
            debug!(%port, %key, %error, "bootstrap dropped");
        };
        let (body, _) = SignedBody::decode(payload).map_err(dropped).ok()?;
        Some(Bootstrap {
            header,
            key,
            watermark,
            body,
        })
    }

    /// Reports whether an announcement will be accepted if its signatures are good. If not, closes the peering.
    fn admit_announcement(
        &mut self,
        port: PortId,
        peer_key: &PublicKey,
        announcement: &Announcement,
    ) -> bool {
        let admitted = self.tree.admit(&mut self.cx, port, peer_key, announcement);
        admitted.map_err(|reason| self.close(port, reason)).is_ok()
    }

    /// Closes a peering because of an invalid announcement.
    fn refuse(&mut self, port: PortId, error: AnnouncementError) {
        let reason = tree::refuse(&mut self.cx, error);
        self.close(port, reason);
    }

    /// Acts on a frame. `acceptance` is the effect of a bootstrap. None: the state may have changed since the bootstrap
    /// was admitted, so it must be admitted again.
    fn act_on(&mut self, verified: Verified, acceptance: Option<Acceptance>) {
        let Verified {
            claim,
            port,
            verdict,
            keys,
            checked,
            ..
        } = verified;
        self.cx.counters.signatures_checked += checked;
        self.cx.signer.learn(keys);
        match claim {
            Claim::Announcement(announcement) => match verdict {
                Ok(()) => self.receive_announcement(port, announcement),
                Err(index) => self.refuse(port, AnnouncementError::Signature { index }),
            },
            Claim::Bootstrap(bootstrap) => {
                if verdict.is_ok() {
                    self.receive_bootstrap(port, &bootstrap, acceptance);
                } else {
                    self.cx.counters.bootstraps_bad_signature += 1;
                    debug!(%port, key = %bootstrap.key, "badly signed bootstrap dropped");
                }
            }
            Claim::Broadcast { header, key, body } => {
                if verdict.is_ok() {
                    let position = self.tree.position();
                    (self.broadcasts).receive(&mut self.cx, position, port, header, key, &body);
                } else {
                    self.record_offence(port);
                }
            }
            Claim::Notice { key, sequence } => {
                let port = self.in_use(port);
                let position = self.tree.position();
                (self.snake).receive_notice(&mut self.cx, position, port, &key, sequence);
            }
        }
    }

    /// Handles an announcement whose signatures are good.
    fn receive_announcement(&mut self, port: PortId, announcement: Announcement) {
        let cx = &mut self.cx;
        cx.signer.trust(&announcement);
        let (position, own_sequence) = (self.tree.position(), self.tree.own_sequence());
        if (cx.own_key).inspect_announcement(cx.now, &cx.own, position, own_sequence, &announcement)
        {
            cx.counters.announcements_own_elsewhere += 1;
        }
        let received = self.tree.receive(cx, port, announcement);
        for outranked in received.outranked {
            if let Some(key) = self.cx.peers.get(outranked).map(|peer| peer.key) {
                debug!(port = %outranked, %key, by = %port, "peering is on standby");
                self.snake
                    .peer_removed(&mut self.cx, self.tree.position(), outranked, &key);
            }
        }
        if received.new_parent {
            self.snake.bootstrap_soon();
        }
        if received.first_of_key {
            self.broadcasts
                .send_to(&mut self.cx, self.tree.position(), port);
        }
    }

    /// Returns the peering that is used with the node at `port`: another one if that is on standby.
    fn in_use(&self, port: PortId) -> PortId {
        if !self.tree.is_on_standby(port) {
            return port;
        }
        let peer = self.cx.peers.get(port);
        let used = peer.and_then(|peer| self.cx.rib.peering_with(&peer.key));
        used.unwrap_or(port)
    }

    /// Handles a bootstrap whose signature is good.
    fn receive_bootstrap(
        &mut self,
        port: PortId,
        bootstrap: &Bootstrap,
        acceptance: Option<Acceptance>,
    ) {
        let port = self.in_use(port);
        let (cx, position) = (&mut self.cx, self.tree.position());
        let acceptance = acceptance.or_else(|| self.snake.admit(cx, position, port, bootstrap));
        if let Some(acceptance) = acceptance {
            self.snake
                .receive(cx, position, port, bootstrap, acceptance);
        }
    }

    /// Counts and drops a badly signed broadcast, and closes the peering if it has brought too many.
    fn record_offence(&mut self, port: PortId) {
        let cx = &mut self.cx;
        cx.counters.broadcasts_bad_signature += 1;
        debug!(%port, "badly signed broadcast dropped");
        let reason = (cx.peers).record_offence(cx.now.monotonic, port, &cx.config);
        if let Some(reason) = reason {
            self.close(port, reason);
        }
    }
}
