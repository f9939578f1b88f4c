//! Steps of a run.

use crate::ids::{LinkId, NodeId};
use crate::link::How;
use crate::time::Nanos;

/// A step of a run that is still to come.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Take a sample.
    Sample,
    /// Send a round of pings.
    Pings,
    /// Turn a node into an adversary; the number is an index into the scenario's adversaries.
    Adversary(usize),
    /// Begin an event; the number is an index into the scenario's events.
    Event(usize),
    /// Stop a random node, which returns later.
    Leave {
        down: Nanos,
        same_key: bool,
        how: How,
    },
    /// Start a node that left.
    Return { node: NodeId, same_key: bool },
    /// Stop the root, `times` more times.
    FlapDown { number: usize, times: u32 },
    /// Start the node that was stopped.
    FlapUp {
        number: usize,
        times: u32,
        node: NodeId,
    },
    /// Bring links up again.
    Heal(Vec<LinkId>),
    /// Move nodes, in `rounds` more rounds.
    Move { number: usize, rounds: u32 },
}
