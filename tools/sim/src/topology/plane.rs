//! Nodes in a square, linked by distance. Places are in whole millimetres.

use std::collections::BTreeMap;

use super::{Layout, connect};
use crate::node::NodeId;
use crate::random::Random;

/// Where a node is, in millimetres.
pub type Place = (i64, i64);

/// How many links a node has on average where no range is given.
const DEGREE: u64 = 8;

pub(super) fn scatter(
    nodes: u32,
    side: u32,
    range: Option<u32>,
    connected: bool,
    random: &mut Random,
) -> Layout {
    let side = u64::from(side) * 1000;
    let places: Vec<_> = (0..nodes)
        .map(|_| (random.below(side) as i64, random.below(side) as i64))
        .collect();
    let range = match range {
        Some(range) => i64::from(range) * 1000,
        // The circle with this radius covers as much of the square as DEGREE nodes of all.
        None => (side * side / 355 * 113 * DEGREE / u64::from(nodes.max(1))).isqrt() as i64,
    };
    let mut links = near(&places, range);
    if connected {
        connect(nodes, &mut links, random);
    }
    Layout {
        nodes,
        links,
        names: Vec::new(),
        places,
    }
}

/// All pairs of nodes that are at most `range` millimetres apart, in order.
#[must_use]
pub fn near(places: &[Place], range: i64) -> Vec<(NodeId, NodeId)> {
    let range = range.max(1);
    let cell = |place: Place| (place.0.div_euclid(range), place.1.div_euclid(range));
    let mut cells: BTreeMap<(i64, i64), Vec<NodeId>> = BTreeMap::new();
    for (node, &place) in places.iter().enumerate() {
        cells.entry(cell(place)).or_default().push(node as NodeId);
    }
    let mut links = Vec::new();
    for (node, &place) in places.iter().enumerate() {
        let (x, y) = cell(place);
        let around = (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (x + dx, y + dy)));
        for other in around.filter_map(|cell| cells.get(&cell)).flatten() {
            let Some(&(ox, oy)) = places.get(*other as usize) else {
                continue;
            };
            let (dx, dy) = (ox - place.0, oy - place.1);
            if (*other as usize) > node && dx * dx + dy * dy <= range * range {
                links.push((node as NodeId, *other));
            }
        }
    }
    links.sort_unstable();
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn near_is_what_a_look_at_all_pairs_finds() {
        let mut random = Random::new(5, Stream::Topology);
        let places: Vec<Place> = (0..200)
            .map(|_| (random.below(1000) as i64 - 500, random.below(1000) as i64))
            .collect();
        let mut expected = Vec::new();
        for a in 0..places.len() {
            for b in a + 1..places.len() {
                let (dx, dy) = (places[a].0 - places[b].0, places[a].1 - places[b].1);
                if dx * dx + dy * dy <= 120 * 120 {
                    expected.push((a as NodeId, b as NodeId));
                }
            }
        }
        assert!(expected.len() > 300);
        assert_eq!(near(&places, 120), expected);
    }
}
