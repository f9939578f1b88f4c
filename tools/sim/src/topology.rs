//! Who is linked to whom at the start.

mod file;
mod plane;
mod random;
mod regular;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Error;
use crate::graph::Graph;
use crate::node::NodeId;
use crate::random::Random;

pub use self::plane::{Place, near};

/// The most nodes of a run. A node takes at least 100 KiB.
pub const MAX_NODES: u64 = 1_000_000;
/// The most links of a run.
pub const MAX_LINKS: u64 = 10_000_000;
/// The longest distance in metres.
pub const MAX_METRES: u32 = 1_000_000;

/// A kind of network, with its size.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Topology {
    /// Each node is linked to the next.
    Line {
        /// How many nodes.
        nodes: u32,
    },
    /// A line whose ends are linked.
    Ring {
        /// How many nodes.
        nodes: u32,
    },
    /// Rows of nodes, each linked to the next in its row and in its column.
    Grid {
        /// How many nodes; the last row may be shorter.
        nodes: u32,
        /// How many in a row; a square if not given.
        width: Option<u32>,
    },
    /// Every node but the first has one link up.
    Tree {
        /// How many nodes.
        nodes: u32,
        /// How many links down a node has.
        #[serde(default = "two")]
        branching: u32,
    },
    /// Nodes anywhere in a square, linked if near enough.
    RandomGeometric {
        /// How many nodes.
        nodes: u32,
        /// The square's side in metres.
        #[serde(default = "kilometre")]
        side: u32,
        /// How far a link reaches, in metres; so that a node has 8 on average if not given.
        range: Option<u32>,
        /// Whether links are added until all nodes hang together.
        #[serde(default = "yes")]
        connect: bool,
    },
    /// Barabási and Albert's: each node is linked to earlier ones, preferring those with many
    /// links.
    ScaleFree {
        /// How many nodes.
        nodes: u32,
        /// How many links each new one has.
        #[serde(default = "two")]
        links: u32,
    },
    /// Watts and Strogatz's: a ring in which each node is linked to its nearest, and some links
    /// go elsewhere instead.
    SmallWorld {
        /// How many nodes.
        nodes: u32,
        /// To how many of its nearest a node is linked: half of them on either side.
        #[serde(default = "four")]
        links: u32,
        /// The share of links that go elsewhere.
        #[serde(default = "tenth")]
        rewired: f64,
    },
    /// From a file: two names a line are a link, more are a path.
    File {
        /// Its path, relative to the scenario's file.
        path: PathBuf,
        /// Whether it may describe networks that are not joined.
        #[serde(default)]
        islands: bool,
    },
}

/// A network's layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// How many nodes.
    pub nodes: u32,
    /// The links, each once.
    pub links: Vec<(NodeId, NodeId)>,
    /// The nodes' names, if they have any.
    pub names: Vec<String>,
    /// Where the nodes are, if anywhere.
    pub places: Vec<Place>,
}

impl Topology {
    /// Checks the sizes of `copies` such networks. An error names the key.
    ///
    /// # Errors
    /// The key, and what to write.
    pub fn check(&self, copies: u32) -> Result<(), (&'static str, String)> {
        let whole = |key, value: u32, least: u32, most: u32| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err((key, format!("`{key}` is {value}: write {least} to {most}"))),
        };
        let metres = |key, value| whole(key, value, 1, MAX_METRES);
        let most = (MAX_NODES / u64::from(copies.max(1))) as u32;
        let sized = |nodes| match most {
            0 | 1 => Err((
                "nodes",
                format!("write fewer copies: at most {MAX_NODES} nodes in all"),
            )),
            most => whole("nodes", nodes, 2, most),
        };
        let links = match *self {
            Self::Line { nodes } | Self::Ring { nodes } => {
                sized(nodes)?;
                u64::from(nodes)
            }
            Self::Grid { nodes, width } => {
                sized(nodes)?;
                whole("width", width.unwrap_or(1), 1, nodes)?;
                2 * u64::from(nodes)
            }
            Self::Tree { nodes, branching } => {
                sized(nodes)?;
                whole("branching", branching, 1, nodes)?;
                u64::from(nodes)
            }
            Self::RandomGeometric {
                nodes, side, range, ..
            } => {
                sized(nodes)?;
                metres("side", side)?;
                metres("range", range.unwrap_or(1))?;
                // As many pairs are linked as the circle around a node covers of the square.
                let covered = f64::from(range.unwrap_or(0)) / f64::from(side);
                let nodes = f64::from(nodes);
                let linked = (covered * covered * std::f64::consts::PI).min(1.0);
                (linked * nodes * nodes / 2.0).max(4.0 * nodes) as u64
            }
            Self::ScaleFree { nodes, links } => {
                sized(nodes)?;
                whole("links", links, 1, nodes - 1)?;
                u64::from(nodes) * u64::from(links)
            }
            Self::SmallWorld {
                nodes,
                links,
                rewired,
            } => {
                sized(nodes)?;
                whole("links", links, 2, (nodes - 1).max(2))?;
                if links >= nodes || links % 2 == 1 {
                    let wrong = format!(
                        "`links` is {links}: half of them are on either side, write an even number \
                         below {nodes}"
                    );
                    return Err(("links", wrong));
                }
                if !(0.0..=1.0).contains(&rewired) {
                    let wrong = format!("`rewired` is {rewired}, a share: write 0 to 1");
                    return Err(("rewired", wrong));
                }
                u64::from(nodes) * u64::from(links) / 2
            }
            Self::File { .. } => 0,
        };
        match links.saturating_mul(copies.into()) <= MAX_LINKS {
            true => Ok(()),
            false => Err((
                "links",
                format!("that makes more than {MAX_LINKS} links: write smaller sizes"),
            )),
        }
    }

    /// Lays the network out. `directory` is that of the scenario's file.
    ///
    /// # Errors
    /// [`Error::Topology`] for sizes that cannot be, [`Error::Read`] and [`Error::Input`] for a
    /// file.
    pub fn lay_out(&self, directory: &Path, random: &mut Random) -> Result<Layout, Error> {
        if let Err((key, wrong)) = self.check(1) {
            return Err(Error::Topology(format!("{key}: {wrong}")));
        }
        Ok(match *self {
            Self::Line { nodes } => Layout::of(nodes, regular::line(nodes)),
            Self::Ring { nodes } => Layout::of(nodes, regular::ring(nodes)),
            Self::Grid { nodes, width } => {
                let width = width.unwrap_or(nodes.isqrt()).max(1);
                Layout::of(nodes, regular::grid(nodes, width))
            }
            Self::Tree { nodes, branching } => {
                Layout::of(nodes, regular::tree(nodes, branching.max(1)))
            }
            Self::RandomGeometric {
                nodes,
                side,
                range,
                connect,
            } => plane::scatter(nodes, side, range, connect, random),
            Self::ScaleFree { nodes, links } => {
                Layout::of(nodes, random::scale_free(nodes, links.max(1), random))
            }
            Self::SmallWorld {
                nodes,
                links,
                rewired,
            } => Layout::of(nodes, random::small_world(nodes, links, rewired, random)),
            Self::File { ref path, islands } => file::read(&directory.join(path), islands)?,
        })
    }
}

impl Layout {
    /// A node as the topology file names it, or its number.
    pub(crate) fn name(&self, node: NodeId) -> String {
        match self.names.get(node as usize) {
            Some(name) => format!("`{name}`"),
            None => node.to_string(),
        }
    }

    fn of(nodes: u32, links: Vec<(NodeId, NodeId)>) -> Self {
        Self {
            nodes,
            links,
            ..Self::default()
        }
    }

    /// The same network `copies` times side by side.
    #[must_use]
    pub fn repeated(&self, copies: u32) -> Self {
        let mut all = self.clone();
        for copy in 1..copies {
            let by = copy * self.nodes;
            all.nodes += self.nodes;
            let links = self.links.iter().map(|&(a, b)| (a + by, b + by));
            all.links.extend(links);
            let names = self.names.iter().map(|name| format!("{name}-{}", copy + 1));
            all.names.extend(names);
            all.places.extend(&self.places);
        }
        all
    }
}

/// Adds links until all nodes hang together: from each component but the first one from its
/// lowest node to any node before it.
fn connect(nodes: u32, links: &mut Vec<(NodeId, NodeId)>, random: &mut Random) {
    let components = Graph::new(nodes as usize, links).components();
    for (node, component) in (0..nodes).zip(components).skip(1) {
        if component == node {
            links.push((random.below(u64::from(node)) as NodeId, node));
        }
    }
}

fn two() -> u32 {
    2
}

fn four() -> u32 {
    4
}

fn tenth() -> f64 {
    0.1
}

fn kilometre() -> u32 {
    1000
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
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
    fn all_hang_together_without_a_link_twice_or_to_itself() {
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
    fn each_has_its_shape() {
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
    fn copies_stand_side_by_side() {
        let two = lay_out(&Topology::Line { nodes: 3 }).repeated(2);
        assert_eq!(two.nodes, 6);
        assert_eq!(two.links, [(0, 1), (1, 2), (3, 4), (4, 5)]);
    }
}
