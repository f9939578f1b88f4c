//! Limits on streams that are not peerings yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::limits::Limits;

/// A place under a limit on streams that are not peerings yet: inbound handshakes, or dials.
///
/// Keep it until the stream of the [`Established`](crate::Established) is a peering or closed. Dropping
/// it makes room for another stream.
#[derive(Debug)]
pub struct Place {
    _held: Held,
}

#[derive(Debug)]
enum Held {
    /// The stream came from the application, which limits its streams itself.
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

/// The slots of inbound streams, by the network of the remote end.
#[derive(Debug)]
pub(crate) struct Admission {
    most: usize,
    most_per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_network: HashMap<IpAddr, Network>,
    /// The number of the next slot.
    next: u64,
}

/// The slots of one network, by number.
#[derive(Debug, Default)]
struct Network {
    /// Slots of streams that are handshaking, with a channel to close each.
    handshaking: BTreeMap<u64, oneshot::Sender<()>>,
    /// Slots of streams that wait to become peerings.
    waiting: BTreeSet<u64>,
}

/// The right to one inbound stream that is not a peering yet. Returned when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    admission: Arc<Admission>,
    network: IpAddr,
    number: u64,
    given_away: oneshot::Receiver<()>,
}

impl Slot {
    /// Takes a slot for a connection from `address`, if one is left for its network.
    ///
    /// If none is left at all, the oldest handshake of the network with the most gives way, unless the
    /// new connection's network has as many. So a few silent hosts cannot lock out others.
    pub(crate) fn take(admission: &Arc<Admission>, address: IpAddr) -> Option<Self> {
        let network = network(address);
        let mut taken = admission.lock();
        let here = taken.by_network.get(&network).map_or(0, Network::len);
        if here >= admission.most_per_address {
            return None;
        }
        if taken.all >= admission.most {
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
            admission: admission.clone(),
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

    /// Moves the slot to the network of `address`, which a reverse proxy has named. Returns false if none is left for that
    /// network, or if the slot has been given away.
    pub(crate) fn move_to(&mut self, address: IpAddr) -> bool {
        let network = network(address);
        let mut taken = self.admission.lock();
        if network == self.network {
            return true;
        }
        let here = taken.by_network.get(&network).map_or(0, Network::len);
        if here >= self.admission.most_per_address {
            return false;
        }
        let Some(close) = taken.take_handshaking(self.network, self.number) else {
            return false;
        };
        let of = taken.by_network.entry(network).or_default();
        of.handshaking.insert(self.number, close);
        self.network = network;
        true
    }

    /// Keeps the slot after the handshake, so that it is given to no other stream. Returns `None` if it
    /// already has been.
    pub(crate) fn keep(self) -> Option<Self> {
        let mut taken = self.admission.lock();
        let of = taken.by_network.get_mut(&self.network)?;
        of.handshaking.remove(&self.number)?;
        of.waiting.insert(self.number);
        drop(taken);
        Some(self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.admission.lock();
        taken.release(self.network, self.number);
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.inbound_handshakes,
            most_per_address: limits.inbound_handshakes_per_address,
            taken: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Ends the oldest handshake of the network with the most, if it has more than `than`.
    fn give_away(&mut self, than: usize) -> Option<()> {
        let most = (self.by_network.iter_mut()).max_by_key(|(_, of)| of.handshaking.len());
        let (_, of) = most.filter(|(_, of)| of.handshaking.len() > than)?;
        let (_, close) = of.handshaking.pop_first()?;
        self.all -= 1;
        // Fails if the stream has just been closed.
        let _ = close.send(());
        Some(())
    }

    /// Takes a handshake out of its network, unless its slot has been given away.
    fn take_handshaking(&mut self, network: IpAddr, number: u64) -> Option<oneshot::Sender<()>> {
        let of = self.by_network.get_mut(&network)?;
        let close = of.handshaking.remove(&number)?;
        if of.len() == 0 {
            self.by_network.remove(&network);
        }
        Some(close)
    }

    /// Releases a slot, unless it has been given away.
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

/// Returns the network that a single host can choose addresses from: an IPv6 host has a /64.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_moves_to_the_network_of_the_client() {
        let admission = Arc::new(Admission::new(&Limits {
            inbound_handshakes: 3,
            inbound_handshakes_per_address: 2,
            ..Limits::default()
        }));
        let [proxy, client] = ["127.0.0.1", "203.0.113.7"].map(|ip| ip.parse().unwrap());
        let mut moved: Vec<_> = (0..2)
            .map(|_| {
                let mut slot = Slot::take(&admission, proxy).unwrap();
                assert!(slot.move_to(client));
                slot
            })
            .collect();
        // The proxy has its places back, and the client has none left.
        assert!(Slot::take(&admission, client).is_none());
        let mut third = Slot::take(&admission, proxy).unwrap();
        assert!(!third.move_to(client));
        assert!(third.move_to(proxy));
        drop(third);
        moved.pop();
        let mut third = Slot::take(&admission, proxy).unwrap();
        assert!(third.move_to(client));
        assert!(moved.pop().unwrap().keep().is_some());
        drop(third);
        assert_eq!(admission.lock().all, 0);
        assert!(admission.lock().by_network.is_empty());
    }
}
