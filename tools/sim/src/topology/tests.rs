use std::collections::BTreeSet;

use super::*;
use crate::graph::Graph;
use crate::random::Stream;

fn lay_out(topology: &Topology) -> Layout {
    let mut random = Random::new(3, Stream::Topology);
    topology.lay_out(Path::new("."), &mut random).unwrap()
}

fn degrees(layout: &Layout) -> Vec<usize> {
    let graph = Graph::new(layout.nodes as usize, &layout.links);
    (0..layout.nodes)
        .map(|n| graph.neighbours(n).len())
        .collect()
}

#[test]
fn all_nodes_are_joined_without_duplicate_links_or_links_to_themselves() {
    let nodes = 60;
    for topology in [
        Topology::Line { nodes },
        Topology::Ring { nodes },
        Topology::Grid { nodes, width: None },
        Topology::Tree {
            nodes,
            branching: 3,
        },
        Topology::RandomGeometric {
            nodes,
            side: 1000,
            range: Some(100),
            connect: true,
        },
        Topology::ScaleFree { nodes, links: 2 },
        Topology::SmallWorld {
            nodes,
            links: 4,
            rewired: 0.3,
        },
    ] {
        let layout = lay_out(&topology);
        assert_eq!(layout.nodes, nodes);
        let set: BTreeSet<_> = layout
            .links
            .iter()
            .map(|&(a, b)| (a.min(b), a.max(b)))
            .collect();
        assert_eq!(set.len(), layout.links.len(), "{topology:?}");
        assert!(
            set.iter().all(|(a, b)| a != b && *b < nodes),
            "{topology:?}"
        );
        let graph = Graph::new(nodes as usize, &layout.links);
        assert!(graph.components().iter().all(|&c| c == 0), "{topology:?}");
        assert_eq!(
            lay_out(&topology),
            layout,
            "the same seed, the same network"
        );
    }
}

#[test]
fn each_kind_has_its_shape() {
    let sum = |topology| degrees(&lay_out(&topology)).iter().sum::<usize>() / 2;
    assert_eq!(sum(Topology::Ring { nodes: 2 }), 1);
    assert_eq!(sum(Topology::Ring { nodes: 9 }), 9);
    assert_eq!(
        sum(Topology::Grid {
            nodes: 12,
            width: Some(4)
        }),
        17
    );
    assert_eq!(
        sum(Topology::Tree {
            nodes: 7,
            branching: 2
        }),
        6
    );
    let hubs = degrees(&lay_out(&Topology::ScaleFree {
        nodes: 500,
        links: 2,
    }));
    assert!(*hubs.iter().max().unwrap() > 25, "{:?}", hubs.iter().max());
    let world = Topology::SmallWorld {
        nodes: 500,
        links: 6,
        rewired: 0.0,
    };
    assert!(degrees(&lay_out(&world)).iter().all(|&d| d == 6));
    let plane = Topology::RandomGeometric {
        nodes: 500,
        side: 1000,
        range: None,
        connect: false,
    };
    let mean = sum(plane) as f64 / 250.0;
    assert!((6.5..9.0).contains(&mean), "{mean}");
}

#[test]
fn copies_are_separate() {
    let two = lay_out(&Topology::Line { nodes: 3 }).repeated(2);
    assert_eq!(two.nodes, 6);
    assert_eq!(two.links, [(0, 1), (1, 2), (3, 4), (4, 5)]);
}
