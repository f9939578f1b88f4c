//! Rounds of pings between random nodes.

use std::ops::Range;

use super::step::Step;
use super::world::World;
use crate::graph::UNREACHABLE;
use crate::ids::NodeId;
use crate::measure::Measurer;
use crate::scenario::LAST_CALL;

/// The number of pairs that are drawn for each ping, until one is far enough apart.
const TRIES: usize = 20;

/// Sends a round of pings, and schedules the next one. Returns the numbers of the pings.
pub(super) fn send(world: &mut World<'_>, measurer: &mut Measurer) -> Option<Range<usize>> {
    let settings = world.scenario.pings.as_ref()?;
    let first = world.network.pings().len();
    let mut honest = world.network.alive();
    honest.retain(|&node| !world.network.is_adversary(node));
    let mut pairs: Vec<(NodeId, NodeId)> = Vec::new();
    for _ in 0..settings.count * TRIES {
        if pairs.len() == settings.count {
            break;
        }
        let (Some(&from), Some(&to)) = (world.pings.pick(&honest), world.pings.pick(&honest))
        else {
            break;
        };
        let distances = measurer.graph(&world.network).distances(from);
        let distance = distances.get(to as usize).copied().unwrap_or(UNREACHABLE);
        if distance != UNREACHABLE && distance >= settings.min_distance.max(1) {
            pairs.push((from, to));
        }
    }
    for (from, to) in pairs {
        world.network.ping(from, to);
    }
    let next = world.now() + settings.every;
    if next + LAST_CALL <= world.scenario.duration {
        world.steps.push(next, Step::Pings);
    }
    Some(first..world.network.pings().len())
}
