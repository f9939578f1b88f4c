//! Pings, and waiting until the network or a node can be reached.

use std::time::{Duration, Instant};

use pinecone_wire::PublicKey;
use pinecone_wire::ping::{self, Ping, PingType};
use tokio::sync::oneshot;

use crate::runtime::Request;
use crate::{Closed, Node, PingError, PingReply, SendError};

/// The number of bytes of a ping's data that identify it.
const NONCE_LEN: usize = 8;
/// The time that [`Node::reachable`] gives its first ping. Each further ping gets twice as long as the
/// one before, up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LAST_WAIT: Duration = Duration::from_secs(5);

impl Node {
    /// Sends one ping to `key`, with `size` bytes of data (at least 8), and waits for the answer.
    ///
    /// # Errors
    /// [`PingError::Timeout`] if no answer arrives in time; otherwise the reason why the ping could not be sent.
    ///
    /// # Cancel safety
    /// If the future is dropped, an answer is ignored.
    pub async fn ping(
        &self,
        key: &PublicKey,
        size: usize,
        timeout: Duration,
    ) -> Result<PingReply, PingError> {
        let local = &self.0.local;
        let max = local.max_payload().saturating_sub(ping::LEN);
        if size > max {
            return Err(SendError::TooLong { len: size, max }.into());
        }
        let mut waiting = local.pings.ask(*key).ok_or(PingError::TooMany)?;
        let mut data = waiting.nonce.to_be_bytes().to_vec();
        data.resize(size.max(NONCE_LEN), 0);
        let question = Ping {
            kind: PingType::Ping,
            hops: 0,
            origin: self.0.own,
            destination: *key,
            data: &data,
        };
        let time_over = self.timer(timeout)?;
        self.send_to(question.encode(), key)?;
        tokio::select! {
            biased;
            Ok(reply) = &mut waiting.reply => Ok(reply),
            told = time_over => Err(match told {
                Ok(()) => PingError::Timeout,
                Err(_) => self.closed_error().into(),
            }),
        }
    }

    /// Waits until `key` answers a ping. Pings are repeated, since the first ones to a new peer may be
    /// lost before routes are set up.
    ///
    /// # Errors
    /// [`PingError::Timeout`] if no answer arrives in time, or [`Closed`] in a [`PingError::Send`].
    ///
    /// # Cancel safety
    /// If the future is dropped, no more pings are sent.
    pub async fn reachable(
        &self,
        key: &PublicKey,
        timeout: Duration,
    ) -> Result<PingReply, PingError> {
        let start = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let error = match self.ping(key, 0, wait.min(left)).await {
                Err(error @ (PingError::Timeout | PingError::TooMany)) => error,
                Err(error @ PingError::Send(SendError::Full)) => error,
                result => return result,
            };
            if start.elapsed() >= timeout {
                return Err(PingError::Timeout);
            }
            if error != PingError::Timeout {
                // Fails if the node closes, which the next ping reports.
                let _ = self.timer(wait.min(left))?.await;
            }
            wait = (wait * 2).min(LAST_WAIT);
        }
    }

    /// Waits until the node has joined a network: a peer has announced the same root that the node
    /// itself follows. Has no timeout: wrap it in that of the executor.
    ///
    /// # Errors
    /// [`Closed`] if the node closes first.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the node.
    pub async fn joined(&self) -> Result<(), Closed> {
        let joined = self.0.local.joining.wait();
        let status = self.status().await?;
        let root = Some(status.root);
        if status.peers.iter().any(|peer| peer.root == root) {
            return Ok(());
        }
        let mut ended = self.0.ended.clone();
        tokio::select! {
            biased;
            Ok(()) = joined => Ok(()),
            _ = ended.changed() => Err(self.closed_error()),
        }
    }

    /// Starts a timer on the runtime thread. The receiver fails if the node closes.
    fn timer(&self, time: Duration) -> Result<oneshot::Receiver<()>, Closed> {
        let (over, time_over) = oneshot::channel();
        let sleep = Request::Sleep { time, over };
        let sent = self.0.runtime.send(sleep);
        sent.map_err(|_| self.closed_error())?;
        Ok(time_over)
    }
}
