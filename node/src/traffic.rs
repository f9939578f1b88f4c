//! Payloads of the application: sending, receiving and filtering.

use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use pinecone_wire::PublicKey;

use crate::{Closed, Node, PacketFilter, Payload, Received, SendError, TryRecvError};

impl Node {
    /// Sends a payload to a key. Like any datagram it may be lost without notice.
    ///
    /// [`Payload`] says which payloads are sent without being copied. A payload to the node's own key is received by the
    /// node itself. If no node has the key, the node with the next higher key may
    /// [receive](crate::ReceiveFor::AnyKey) the payload, unless that is this node.
    ///
    /// # Errors
    /// [`SendError`]; the payload is not sent then.
    pub fn send_to<'a>(
        &self,
        payload: impl Into<Payload<'a>>,
        key: &PublicKey,
    ) -> Result<(), SendError> {
        let sent = self.0.local.send_to(payload.into(), key);
        sent.map_err(|error| match error {
            SendError::Closed(_) => self.closed_error().into(),
            error => error,
        })
    }

    /// Waits until [`Self::send_to`] takes a payload of any length to `key`, after it has returned [`SendError::Full`].
    /// At most 256 KiB that this node sends wait for one peering.
    ///
    /// Other senders may be faster, so that the payload finds the queue full again. The future yields to other tasks at
    /// least once.
    ///
    /// # Errors
    /// [`Closed`] if the node closes first.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect on the node.
    pub async fn send_ready(&self, key: &PublicKey) -> Result<(), Closed> {
        let mut yielded = false;
        let ready = poll_fn(|context| {
            let ready = self.0.local.poll_send_ready(key, context);
            // A loop that sends and waits must let other tasks run, even if there is room again each time it waits.
            if ready.is_ready() && !yielded {
                context.waker().wake_by_ref();
            }
            match mem::replace(&mut yielded, true) {
                true => ready,
                false => Poll::Pending,
            }
        });
        let ready = ready.await;
        ready.map_err(|_| self.closed_error())
    }

    /// Waits like [`Self::send_ready`], for callers outside async code.
    ///
    /// # Errors
    /// As [`Self::send_ready`].
    pub fn send_ready_blocking(&self, key: &PublicKey) -> Result<(), Closed> {
        pollster::block_on(self.send_ready(key))
    }

    /// Returns the length of the longest payload that [`Self::send_to`] takes at the node's present
    /// place in the tree, to any destination that is not hundreds of hops away.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.0.local.max_payload()
    }

    /// Receives the next payload, with the key that it claims to be from. The claim is not proven.
    ///
    /// Each payload goes to one of the callers that wait at the same time.
    ///
    /// # Errors
    /// [`Closed`] once the node is closed and all payloads have been received.
    ///
    /// # Cancel safety
    /// No payload is lost if the future is dropped.
    pub async fn recv_from(&self) -> Result<(Bytes, PublicKey), Closed> {
        let received = self.recv().await?;
        Ok((received.payload, received.source))
    }

    /// Receives the next payload, with the key that it is from and the key that it is for.
    ///
    /// # Errors
    /// [`Closed`] once the node is closed and all payloads have been received.
    ///
    /// # Cancel safety
    /// No payload is lost if the future is dropped.
    pub async fn recv(&self) -> Result<Received, Closed> {
        // Payloads that wait already must not keep a caller from yielding to other tasks.
        tokio::task::consume_budget().await;
        let mut ended = self.0.ended.clone();
        loop {
            let arrived = self.0.local.arrived.notified();
            if let Some(received) = self.take() {
                return Ok(received);
            }
            tokio::select! {
                biased;
                () = arrived => {}
                // The value never changes: this waits until the sender is dropped.
                _ = ended.changed() => return self.take().ok_or_else(|| self.closed_error()),
            }
        }
    }

    /// Receives a payload if one is waiting.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] if none is waiting, [`TryRecvError::Closed`] as [`Self::recv`].
    pub fn try_recv(&self) -> Result<Received, TryRecvError> {
        // This is checked first, as payloads may arrive until the end.
        let ended = self.0.ended.has_changed().is_err();
        match self.take() {
            Some(received) => Ok(received),
            None if ended => Err(self.closed_error().into()),
            None => Err(TryRecvError::Empty),
        }
    }

    fn take(&self) -> Option<Received> {
        let inbox = &self.0.inbox;
        let received = (inbox.lock().unwrap_or_else(PoisonError::into_inner)).try_recv();
        let received = received.ok()?;
        self.0.local.taken(&received.payload);
        Some(received)
    }

    /// Receives the next payload like [`Self::recv`], for callers outside async code.
    ///
    /// # Errors
    /// As [`Self::recv`].
    pub fn recv_blocking(&self) -> Result<Received, Closed> {
        pollster::block_on(self.recv())
    }

    /// Sets or removes the packet filter. It is called for every traffic frame that arrives or that this node sends to
    /// others, and decides whether the frame passes.
    ///
    /// The worker threads call the filter and wait for it. It must not hold a handle to this node, as dropping the
    /// other handles would then not close the node.
    pub fn set_packet_filter(&self, filter: Option<Arc<dyn PacketFilter>>) {
        if let Some(dataplane) = self.0.dataplane.upgrade() {
            dataplane.set_filter(filter);
        }
    }
}
