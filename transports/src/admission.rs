//! How many streams may be on their way to a peering at a time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

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

/// Who holds slots. Never iterated.
#[derive(Debug, Default)]
pub(crate) struct Admission(Mutex<Taken>);

#[derive(Debug, Default)]
pub(crate) struct Taken {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// The right to one inbound stream that is no peering yet; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    shared: Arc<Shared>,
    network: IpAddr,
}

impl Slot {
    /// A slot for a connection from `address`, if there is one left in all and for its network.
    pub(crate) fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let network = network(address);
        let mut held = shared.admission.lock();
        let limits = &shared.limits;
        let here = held.by_network.get(&network).copied().unwrap_or(0);
        if held.all >= limits.inbound_handshakes || here >= limits.inbound_handshakes_per_address {
            return None;
        }
        held.all += 1;
        held.by_network.insert(network, here + 1);
        drop(held);
        Some(Self {
            shared: shared.clone(),
            network,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.shared.admission.lock();
        held.all -= 1;
        if let Some(here) = held.by_network.get_mut(&self.network) {
            *here -= 1;
            if *here == 0 {
                held.by_network.remove(&self.network);
            }
        }
    }
}

impl Admission {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one host can make up addresses in: an IPv6 host has a /64 of its own.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}
