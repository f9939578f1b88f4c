//! Events of a node, and subscriptions to them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_core::Stream;
use pinecone_dataplane::{CloseReason, LinkType, PortId};
use pinecone_wire::{Coordinates, PublicKey};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::{NodeError, Traffic};

/// The number of events that a subscriber may be behind before it misses some.
const BACKLOG: usize = 4096;

/// An event in a node. All subscribers get the same events in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peering is up.
    PeerAdded {
        /// Its port.
        port: PortId,
        /// The peer's key.
        key: PublicKey,
        /// The type of its link.
        link: LinkType,
        /// The peer's address, as text for people.
        remote: String,
    },
    /// A peering has ended.
    PeerRemoved {
        /// The port that it had.
        port: PortId,
        /// The peer's key.
        key: PublicKey,
        /// The reason why it ended.
        reason: CloseReason,
    },
    /// The node has another parent in the tree, or none, in which case it is a root.
    ParentChanged {
        /// The parent's key.
        parent: Option<PublicKey>,
    },
    /// The node follows another root, or a new sequence of its root.
    RootChanged {
        /// The root's key.
        root: PublicKey,
        /// The root's sequence.
        sequence: u64,
    },
    /// The node has another place in the tree.
    CoordinatesChanged {
        /// Its new coordinates.
        coordinates: Coordinates,
    },
    /// The node has another descending node on the snake, or none.
    DescendingChanged {
        /// The descending node's key.
        descending: Option<PublicKey>,
    },
    /// A SNEK route was installed.
    RouteAdded {
        /// The key that the route leads to.
        key: PublicKey,
    },
    /// A SNEK route expired or was lost with its peering.
    RouteRemoved {
        /// The key that the route led to.
        key: PublicKey,
    },
    /// A wakeup broadcast arrived that the node had not seen before.
    BroadcastReceived {
        /// The key of the node that sent it first.
        key: PublicKey,
        /// Its sequence: Unix milliseconds at that node.
        sequence: u64,
    },
    /// Traffic of each peering since the last of these events
    /// ([`NodeOptions::bandwidth_interval`](crate::NodeOptions::bandwidth_interval)).
    Bandwidth {
        /// The peerings that are up, lowest port first.
        peers: Vec<PeerBandwidth>,
    },
    /// The node cannot go on and closes. Only [`Event::PeerRemoved`] follows.
    Failed {
        /// The reason why it cannot go on.
        error: NodeError,
    },
    /// The subscriber was too slow and has lost events.
    Missed {
        /// The number of lost events.
        events: u64,
    },
}

/// Traffic of one peering in an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerBandwidth {
    /// Its port.
    pub port: PortId,
    /// The peer's key.
    pub key: PublicKey,
    /// Frames and bytes of the interval.
    pub traffic: Traffic,
}

/// A subscription to a node's events, made by [`Node::events`](crate::Node::events) or
/// [`Builder::events`](crate::Builder::events).
///
/// It is a [`Stream`] that ends when the node has closed. A subscriber that falls more than 4,096
/// events behind gets [`Event::Missed`] in place of the events that it lost.
#[derive(Debug)]
pub struct Events(BroadcastStream<Event>);

impl Events {
    /// Waits for the next event. Returns `None` once the node is closed and all events have been read.
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let next = Pin::new(&mut self.0).poll_next(context);
        next.map(|next| {
            next.map(|event| match event {
                Ok(event) => event,
                Err(BroadcastStreamRecvError::Lagged(events)) => Event::Missed { events },
            })
        })
    }
}

/// The subscribers of one node. The channel takes memory only once there is a subscriber.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Mutex<Channel>);

#[derive(Debug, Default)]
enum Channel {
    #[default]
    Unused,
    Open(broadcast::Sender<Event>),
    Ended,
}

/// Sends a node's events. Dropping it ends all subscriptions.
#[derive(Debug)]
pub(crate) struct EventSender(Arc<Subscribers>);

impl Subscribers {
    /// Subscribes to events from now on. Once events have ended, the subscription ends at once.
    pub(crate) fn subscribe(&self) -> Events {
        let mut channel = self.lock();
        let receiver = match &*channel {
            Channel::Open(sender) => sender.subscribe(),
            Channel::Unused => {
                let (sender, receiver) = broadcast::channel(BACKLOG);
                *channel = Channel::Open(sender);
                receiver
            }
            Channel::Ended => broadcast::channel(1).1,
        };
        Events(BroadcastStream::new(receiver))
    }

    fn lock(&self) -> MutexGuard<'_, Channel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSender {
    pub(crate) const fn new(subscribers: Arc<Subscribers>) -> Self {
        Self(subscribers)
    }

    /// Sends an event to all subscribers.
    pub(crate) fn send(&self, event: Event) {
        let sender = match &*self.0.lock() {
            Channel::Open(sender) => sender.clone(),
            Channel::Unused | Channel::Ended => return,
        };
        // Woken without the lock: an executor may poll a subscriber inside of this call.
        // Fails if there is no subscriber left.
        let _ = sender.send(event);
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let ended = std::mem::replace(&mut *self.0.lock(), Channel::Ended);
        // This wakes the subscribers, which the lock is not held for.
        drop(ended);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use super::*;

    struct Subscribes(Arc<Subscribers>, Mutex<usize>);

    impl Wake for Subscribes {
        fn wake(self: Arc<Self>) {
            assert!(self.0.0.try_lock().is_ok(), "woken under the lock");
            *self.1.lock().unwrap() += 1;
        }
    }

    #[test]
    fn subscribers_are_woken_without_the_lock() {
        let subscribers = Arc::new(Subscribers::default());
        let mut events = subscribers.subscribe();
        let sender = EventSender::new(Arc::clone(&subscribers));
        let task = Arc::new(Subscribes(subscribers, Mutex::new(0)));
        let waker = Waker::from(Arc::clone(&task));
        let mut poll = || Pin::new(&mut events).poll_next(&mut Context::from_waker(&waker));
        assert!(poll().is_pending());
        let event = Event::ParentChanged { parent: None };
        sender.send(event.clone());
        assert_eq!(poll(), Poll::Ready(Some(event)));
        assert!(poll().is_pending());
        drop(sender);
        assert_eq!(poll(), Poll::Ready(None));
        assert_eq!(*task.1.lock().unwrap(), 2);
    }
}
