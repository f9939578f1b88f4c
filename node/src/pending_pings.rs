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
        // The caller is woken without the lock: an executor may poll it inside of that call.
        let removed = {
            let mut pending = self.lock();
            match pending.get(&nonce) {
                Some(ping) if ping.asked == *asked => pending.remove(&nonce),
                _ => None,
            }
        };
        if let Some(ping) = removed {
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
        let removed = self.pings.lock().remove(&self.nonce);
        // Dropping the sender may wake a task, which the lock is not held for.
        drop(removed);
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

    /// A waker that drops its ping when it is woken, as an executor does that polls inside of the call.
    struct DropsPing(Mutex<Option<Waiting<'static>>>, &'static PendingPings);

    impl std::task::Wake for DropsPing {
        fn wake(self: std::sync::Arc<Self>) {
            assert!(self.1.pending.try_lock().is_ok(), "woken under the lock");
            drop(self.0.lock().unwrap().take());
        }
    }

    #[test]
    fn a_ping_may_be_dropped_inside_of_the_call_that_wakes_it() {
        let pings: &'static PendingPings = Box::leak(Box::new(PendingPings::new(1)));
        let mut waiting = pings.ask(PEER).unwrap();
        let nonce = waiting.nonce;
        let task = std::sync::Arc::new(DropsPing(Mutex::default(), pings));
        let waker = std::task::Waker::from(std::sync::Arc::clone(&task));
        let mut context = std::task::Context::from_waker(&waker);
        let reply = std::pin::Pin::new(&mut waiting.reply);
        assert!(std::future::Future::poll(reply, &mut context).is_pending());
        *task.0.lock().unwrap() = Some(waiting);
        pings.answered(&PEER, nonce, 1);
        assert!(task.0.lock().unwrap().is_none(), "it was not woken");
    }

    #[test]
    fn a_dropped_ping_is_forgotten() {
        let pings = PendingPings::new(1);
        let nonce = pings.ask(PEER).unwrap().nonce;
        pings.answered(&PEER, nonce, 0);
        assert!(pings.lock().is_empty());
    }
}
