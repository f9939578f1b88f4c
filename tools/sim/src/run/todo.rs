//! Steps of a run that are still to come.

use crate::ids::LinkId;
use crate::ids::NodeId;
use crate::link::How;
use crate::time::Nanos;

/// What is still to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Todo {
    Sample,
    Pings,
    Adversary(usize),
    Event(usize),
    /// Any node goes, and comes back after a while.
    Leave {
        down: Nanos,
        same_key: bool,
        how: How,
    },
    Return {
        node: NodeId,
        same_key: bool,
    },
    /// The root goes down, so many times more.
    FlapDown {
        number: usize,
        times: u32,
    },
    FlapUp {
        number: usize,
        times: u32,
        node: NodeId,
    },
    Heal(Vec<LinkId>),
    /// Nodes move, so many times more.
    Move {
        number: usize,
        rounds: u32,
    },
}
