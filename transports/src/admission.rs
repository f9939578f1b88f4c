//! How many streams may be on their way to a peering at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::handshake::Shared;

/// A place under a limit on streams that are no peerings yet: inbound handshakes, or dials. Whoever
/// takes an [`Established`](crate::Established) keeps it until the stream is a peering or closed;
/// dropping it makes room for another stream.
#[derive(Debug)]
pub struct Place {
    _held: Held,
}

#[derive(Debug)]
enum Held {
    /// The stream came from an embedder, who limits them.
    Unlimited,
    Inbound {
        _slot: Slot,
    },
    Dial {
        _permit: OwnedSemaphorePermit,
    },
}

impl Place {
    pub(crate) const fn unlimited() -> Self {
        Self {
            _held: Held::Unlimited,
        }
    }

    pub(crate) const fn inbound(slot: Slot) -> Self {
        Self {
            _held: Held::Inbound { _slot: slot },
        }
    }

    pub(crate) const fn dial(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _held: Held::Dial { _permit: permit },
        }
    }
}

/// All slots, by the network of the other end.
#[derive(Debug, Default)]
pub(crate) struct Admission(Mutex<Taken>);

#[derive(Debug, Default)]
pub(crate) struct Taken {
    all: usize,
    by_network: HashMap<IpAddr, Network>,
    /// The number of the next slot.
    next: u64,
}

/// The slots of one network, by number.
#[derive(Debug, Default)]
struct Network {
    /// Those whose streams are handshaking, and how to close each.
    handshaking: BTreeMap<u64, oneshot::Sender<()>>,
    /// Those whose streams wait to become peerings.
    waiting: BTreeSet<u64>,
}

/// The right to one inbound stream that is no peering yet; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Arc<Shared>,
    network: IpAddr,
    number: u64,
    given_away: oneshot::Receiver<()>,
}

impl Slot {
    /// A slot for a connection from `address`, if there is one left for its network. Where none is
    /// left in all, the oldest handshake of the network with the most gives way, unless the
    /// newcomer's network has as many: a few hosts that connect and stay silent lock nobody out.
    pub(crate) fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let network = network(address);
        let mut taken = shared.admission.lock();
        let limits = &shared.limits;
        let here = taken.by_network.get(&network).map_or(0, Network::len);
        if here >= limits.inbound_handshakes_per_address {
            return None;
        }
        if taken.all >= limits.inbound_handshakes {
            taken.give_away(here + 1)?;
        }
        let number = taken.next;
        let (close, given_away) = oneshot::channel();
        taken.next += 1;
        taken.all += 1;
        let of = taken.by_network.entry(network).or_default();
        of.handshaking.insert(number, close);
        drop(taken);
        Some(Self {
            shared: shared.clone(),
            network,
            number,
            given_away,
        })
    }

    /// Waits until the slot is given to another stream.
    pub(crate) async fn given_away(&mut self) {
        if (&mut self.given_away).await.is_err() {
            std::future::pending().await
        }
    }

    /// The handshake is done: from here on the slot is given to no other stream. Returns nothing if
    /// it has been already.
    pub(crate) fn keep(self) -> Option<Self> {
        let mut taken = self.shared.admission.lock();
        let of = taken.by_network.get_mut(&self.network)?;
        of.handshaking.remove(&self.number)?;
        of.waiting.insert(self.number);
        drop(taken);
        Some(self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.shared.admission.lock();
        taken.release(self.network, self.number);
    }
}

impl Admission {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Ends the oldest handshake of the network with the most, if they are more than `than`.
    fn give_away(&mut self, than: usize) -> Option<()> {
        let most = (self.by_network.iter_mut()).max_by_key(|(_, of)| of.handshaking.len());
        let (_, of) = most.filter(|(_, of)| of.handshaking.len() > than)?;
        let (_, close) = of.handshaking.pop_first()?;
        self.all -= 1;
        // Fails where the stream was closed just now.
        let _ = close.send(());
        Some(())
    }

    /// Makes room, unless the slot has been given away.
    fn release(&mut self, network: IpAddr, number: u64) {
        let Some(of) = self.by_network.get_mut(&network) else {
            return;
        };
        if of.handshaking.remove(&number).is_some() || of.waiting.remove(&number) {
            self.all -= 1;
        }
        if of.len() == 0 {
            self.by_network.remove(&network);
        }
    }
}

impl Network {
    fn len(&self) -> usize {
        self.handshaking.len() + self.waiting.len()
    }
}

/// What one host can make up addresses in: an IPv6 host has a /64 of its own.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}
