//! Pings that wait for their answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pinecone_wire::PublicKey;
use tokio::sync::oneshot;

use crate::PingReply;

/// The number of pings that may wait at a time.
const MAX_PENDING: usize = 65_536;

/// The pings of one node that wait for answers, by the nonce in their data.
pub(crate) struct PendingPings {
    next: AtomicU64,
    pending: Mutex<HashMap<u64, Pending>>,
}

struct Pending {
    asked: PublicKey,
    sent: Instant,
    reply: oneshot::Sender<PingReply>,
}

/// A ping that waits. Dropping it removes it from the pending ones.
pub(crate) struct Waiting<'a> {
    pings: &'a PendingPings,
    /// The first eight bytes of the ping's data.
    pub(crate) nonce: u64,
    pub(crate) reply: oneshot::Receiver<PingReply>,
}

impl PendingPings {
    /// Creates the table with a random first nonce, which keeps late answers to an earlier run of the
    /// node apart.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            next: AtomicU64::new(start),
            pending: Mutex::default(),
        }
    }

    /// Begins to wait for an answer from `asked`. Returns `None` if too many pings wait.
    pub(crate) fn ask(&self, asked: PublicKey) -> Option<Waiting<'_>> {
        let nonce = self.next.fetch_add(1, Relaxed);
        let (reply, receiver) = oneshot::channel();
        let mut pending = self.lock();
        if pending.len() >= MAX_PENDING {
            return None;
        }
        pending.insert(
            nonce,
            Pending {
                asked,
                sent: Instant::now(),
                reply,
            },
        );
        Some(Waiting {
            pings: self,
            nonce,
            reply: receiver,
        })
    }

    /// Handles an answer from `asked`. An answer to no pending ping is ignored.
    pub(crate) fn answered(&self, asked: &PublicKey, nonce: u64, hops: u16) {
        let now = Instant::now();
        let mut pending = self.lock();
        if pending.get(&nonce).is_none_or(|p| p.asked != *asked) {
            return;
        }
        if let Some(ping) = pending.remove(&nonce) {
            let rtt = now.saturating_duration_since(ping.sent);
            // Fails if the caller has stopped waiting.
            let _ = ping.reply.send(PingReply { rtt, hops });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pings.lock().remove(&self.nonce);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PublicKey = PublicKey([7; 32]);

    #[test]
    fn an_answer_counts_once_and_only_from_whom_was_asked() {
        let pings = PendingPings::new(u64::MAX);
        let mut waiting = pings.ask(PEER).unwrap();
        assert_eq!(waiting.nonce, u64::MAX);
        pings.answered(&PublicKey([8; 32]), waiting.nonce, 1);
        pings.answered(&PEER, waiting.nonce.wrapping_add(1), 1);
        assert!(waiting.reply.try_recv().is_err());
        pings.answered(&PEER, waiting.nonce, 3);
        pings.answered(&PEER, waiting.nonce, 9);
        assert_eq!(waiting.reply.try_recv().unwrap().hops, 3);
    }

    #[test]
    fn a_dropped_ping_is_forgotten() {
        let pings = PendingPings::new(1);
        let nonce = pings.ask(PEER).unwrap().nonce;
        pings.answered(&PEER, nonce, 0);
        assert!(pings.lock().is_empty());
    }
}
