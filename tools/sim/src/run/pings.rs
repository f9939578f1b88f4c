//! Rounds of pings between nodes picked at random.

use super::Run;
use super::todo::Todo;
use crate::graph::UNREACHABLE;
use crate::ids::NodeId;
use crate::scenario::LAST_CALL;

/// Pairs that are tried for every one that is wanted.
const TRIES: usize = 20;

impl Run<'_> {
    /// Sends a round of pings, and sees to the next.
    pub(super) fn ping_round(&mut self) {
        let Some(settings) = &self.scenario.pings else {
            return;
        };
        let first = self.network.pings().len();
        let nodes: Vec<_> = self.network.alive();
        let honest: Vec<_> = nodes
            .into_iter()
            .filter(|&node| !self.network.is_adversary(node))
            .collect();
        let mut pairs: Vec<(NodeId, NodeId)> = Vec::new();
        for _ in 0..settings.count * TRIES {
            if pairs.len() == settings.count {
                break;
            }
            let (Some(&from), Some(&to)) = (self.pings.pick(&honest), self.pings.pick(&honest))
            else {
                break;
            };
            let distances = self.measurer.graph(&self.network).distances(from);
            let distance = distances.get(to as usize).copied().unwrap_or(UNREACHABLE);
            if distance != UNREACHABLE && distance >= settings.min_distance.max(1) {
                pairs.push((from, to));
            }
        }
        for (from, to) in pairs {
            self.network.ping(from, to);
        }
        self.rounds.push(first..self.network.pings().len());
        let next = self.now() + settings.every;
        if next + LAST_CALL <= self.scenario.duration {
            self.todo.push(next, Todo::Pings);
        }
    }
}
