//! Nodes in a square, linked if they are near each other. Positions are in whole millimetres.

use std::collections::BTreeMap;

use super::connect::connect;
use super::layout::{Layout, Place};
use crate::ids::NodeId;
use crate::random::Random;

/// The mean number of links of a node where no range is given.
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
        // A circle with this radius covers DEGREE / nodes of the square.
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

/// Returns all pairs of nodes that are at most `range` millimetres apart, in ascending order.
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
    fn near_agrees_with_a_comparison_of_all_pairs() {
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
