//! Packet filters of the application, which run on worker threads.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pinecone_wire::{PublicKey, TrafficLayout};

use crate::PortId;

/// A filter that every traffic frame passes before it is routed. It is called on worker threads, so it must be quick
/// and never block.
///
/// Closures are filters. A filter must not rely on panicking: one that panics is removed and dropped, and only with
/// `panic = "unwind"`. The frame is then dropped, and all later ones pass unfiltered.
///
/// ```
/// use std::sync::Arc;
/// use pinecone_dataplane::{PacketFilter, TrafficFrame};
///
/// let short: Arc<dyn PacketFilter> = Arc::new(|frame: &TrafficFrame<'_>| frame.bytes().len() <= 1500);
/// ```
pub trait PacketFilter: Send + Sync {
    /// Reports whether the frame may pass.
    fn pass(&self, frame: &TrafficFrame<'_>) -> bool;
}

impl<F: Fn(&TrafficFrame<'_>) -> bool + Send + Sync> PacketFilter for F {
    fn pass(&self, frame: &TrafficFrame<'_>) -> bool {
        self(frame)
    }
}

/// A traffic frame, as given to a packet filter.
#[derive(Clone, Copy, Debug)]
pub struct TrafficFrame<'a> {
    ingress: PortId,
    own_key: PublicKey,
    bytes: &'a [u8],
    layout: &'a TrafficLayout,
}

/// The direction of a traffic frame from this node's point of view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameClass {
    /// A frame that this node sends.
    Outgoing,
    /// A frame for this node's key.
    Incoming,
    /// A frame from a peer for another key. It may still be delivered here, if no node has that key.
    Transit,
}

impl<'a> TrafficFrame<'a> {
    pub(crate) const fn new(
        ingress: PortId,
        own_key: PublicKey,
        bytes: &'a [u8],
        layout: &'a TrafficLayout,
    ) -> Self {
        Self {
            ingress,
            own_key,
            bytes,
            layout,
        }
    }

    /// Returns the port that the frame arrived at, or [`PortId::LOCAL`] for one that this node sends.
    #[must_use]
    pub const fn ingress(&self) -> PortId {
        self.ingress
    }

    /// Returns the direction of the frame: sent, received or forwarded by this node.
    #[must_use]
    pub fn class(&self) -> FrameClass {
        if self.ingress == PortId::LOCAL {
            FrameClass::Outgoing
        } else if self.destination() == self.own_key {
            FrameClass::Incoming
        } else {
            FrameClass::Transit
        }
    }

    /// Returns the source key in the frame. It is only a claim.
    #[must_use]
    pub fn source(&self) -> PublicKey {
        self.layout.source_key(self.bytes)
    }

    /// Returns the destination key.
    #[must_use]
    pub fn destination(&self) -> PublicKey {
        self.layout.destination_key(self.bytes)
    }

    /// Returns the payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.layout.payload(self.bytes)
    }

    /// Returns the whole frame, header included.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the layout of the frame.
    #[must_use]
    pub const fn layout(&self) -> &'a TrafficLayout {
        self.layout
    }
}

/// A filter that all workers share, with protection against its panics.
pub(crate) struct GuardedFilter {
    /// None only while this is dropped.
    filter: Option<Arc<dyn PacketFilter>>,
    panicked: AtomicBool,
}

impl GuardedFilter {
    pub(crate) fn new(filter: Arc<dyn PacketFilter>) -> Self {
        Self {
            filter: Some(filter),
            panicked: AtomicBool::new(false),
        }
    }

    /// Reports whether the filter has panicked, in which case all frames pass.
    pub(crate) fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::Relaxed)
    }

    /// Reports whether the frame may pass.
    #[inline]
    pub(crate) fn pass(&self, frame: &TrafficFrame<'_>) -> bool {
        let Some(filter) = self.filter.as_ref().filter(|_| !self.has_panicked()) else {
            return true;
        };
        // After a panic, the filter is not called again, so it cannot be seen in a broken state.
        let call = AssertUnwindSafe(|| filter.pass(frame));
        catch_unwind(call).unwrap_or_else(|payload| self.caught(payload))
    }

    #[cold]
    fn caught(&self, payload: Box<dyn Any + Send>) -> bool {
        drop_guarded(payload);
        if !self.panicked.swap(true, Ordering::Relaxed) {
            tracing::error!("the packet filter panicked and has been removed: all frames pass");
        }
        false
    }
}

impl Drop for GuardedFilter {
    fn drop(&mut self) {
        drop_guarded(self.filter.take());
    }
}

/// Drops a value of the application, which must not end the worker if it panics.
fn drop_guarded<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // Dropping this might panic, too.
        std::mem::forget(payload);
        tracing::error!("a packet filter panicked when it was dropped");
    }
}
