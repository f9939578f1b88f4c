//! Nodes that move, and links that follow them.

use super::world::World;
use crate::scenario::Action;
use crate::topology::{Topology, near};

/// Moves every node by a random step, and links those that are then in range of each other.
pub(super) fn move_nodes(world: &mut World<'_>, number: usize) {
    let Some(&Action::Move {
        range, step, how, ..
    }) = world.action(number)
    else {
        return;
    };
    let side = match world.scenario.topology {
        Topology::RandomGeometric { side, .. } => i64::from(side) * 1000,
        _ => return,
    };
    let step = i64::from(step) * 1000;
    for place in &mut world.places {
        let (dx, dy) = loop {
            let mut draw = || world.mobility.below(2 * step as u64 + 1) as i64 - step;
            let (dx, dy) = (draw(), draw());
            if dx * dx + dy * dy <= step * step {
                break (dx, dy);
            }
        };
        place.0 = (place.0 + dx).clamp(0, side);
        place.1 = (place.1 + dy).clamp(0, side);
    }
    let wanted = near(&world.places, i64::from(range) * 1000);
    for (pair, &link) in &world.pairs {
        let up = world.network.link(link).is_some_and(|(_, _, up)| up);
        match (wanted.binary_search(pair).is_ok(), up) {
            (true, false) => world.network.heal(link),
            (false, true) => world.network.cut(link, how),
            _ => {}
        }
    }
    for (a, b) in wanted {
        if !world.pairs.contains_key(&(a, b)) {
            world.add_link(a, b);
        }
    }
}
