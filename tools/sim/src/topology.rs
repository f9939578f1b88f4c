//! Topologies: the links of a network at the start.

mod connect;
mod edge_list;
mod geometric;
mod layout;
mod random;
mod regular;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Error;
use crate::random::Random;

pub use self::edge_list::parse;
pub use self::geometric::near;
pub use self::layout::{Layout, MAX_LINKS, MAX_METRES, MAX_NODES, Place};

/// A kind of network and its size.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Topology {
    /// A line, in which each node is linked to the next.
    Line {
        /// The number of nodes.
        nodes: u32,
    },
    /// A line whose ends are linked.
    Ring {
        /// The number of nodes.
        nodes: u32,
    },
    /// Rows of nodes, each linked to the next one in its row and in its column.
    Grid {
        /// The number of nodes; the last row may be shorter.
        nodes: u32,
        /// The number of nodes in a row; a square if absent.
        width: Option<u32>,
    },
    /// A tree: every node but the first is linked to one parent.
    Tree {
        /// The number of nodes.
        nodes: u32,
        /// The number of children of a node.
        #[serde(default = "two")]
        branching: u32,
    },
    /// Nodes at random positions in a square, linked if they are near enough.
    RandomGeometric {
        /// The number of nodes.
        nodes: u32,
        /// The square's side in metres.
        #[serde(default = "kilometre")]
        side: u32,
        /// The longest link in metres; if absent, such that a node has 8 links on average.
        range: Option<u32>,
        /// Set if links are added until all nodes are joined.
        #[serde(default = "yes")]
        connect: bool,
    },
    /// Barabási and Albert's model: each node is linked to earlier ones, preferring those with
    /// many links.
    ScaleFree {
        /// The number of nodes.
        nodes: u32,
        /// The number of links of each new node.
        #[serde(default = "two")]
        links: u32,
    },
    /// Watts and Strogatz's model: a ring in which each node is linked to its nearest neighbours,
    /// with some links moved to a random node.
    SmallWorld {
        /// The number of nodes.
        nodes: u32,
        /// The number of nearest neighbours that a node is linked to, half of them on either side.
        #[serde(default = "four")]
        links: u32,
        /// The share of links that are moved, from 0 to 1.
        #[serde(default = "tenth")]
        rewired: f64,
    },
    /// A topology file, as [`parse`] reads it.
    File {
        /// The file's path, relative to the scenario's directory.
        path: PathBuf,
        /// Set if the network may have parts that no link joins.
        #[serde(default)]
        islands: bool,
    },
}

impl Topology {
    /// Checks the sizes of `copies` such networks.
    ///
    /// # Errors
    /// The key that is wrong, and what to write.
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
                // The share of pairs that are linked is the share of the square that a circle with
                // this range covers.
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
                        "`links` is {links}: half of them are on either side, so write an even number \
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

    /// Lays out the network. `directory` is the scenario's directory.
    ///
    /// # Errors
    /// [`Error::Topology`] for sizes that are out of bounds, [`Error::Read`] and [`Error::Input`]
    /// for a topology file.
    pub fn lay_out(&self, directory: &Path, random: &mut Random) -> Result<Layout, Error> {
        if let Err((key, wrong)) = self.check(1) {
            return Err(Error::Topology(format!("{key}: {wrong}")));
        }
        Ok(match *self {
            Self::Line { nodes } => Layout::unnamed(nodes, regular::line(nodes)),
            Self::Ring { nodes } => Layout::unnamed(nodes, regular::ring(nodes)),
            Self::Grid { nodes, width } => {
                let width = width.unwrap_or(nodes.isqrt()).max(1);
                Layout::unnamed(nodes, regular::grid(nodes, width))
            }
            Self::Tree { nodes, branching } => {
                Layout::unnamed(nodes, regular::tree(nodes, branching.max(1)))
            }
            Self::RandomGeometric {
                nodes,
                side,
                range,
                connect,
            } => geometric::scatter(nodes, side, range, connect, random),
            Self::ScaleFree { nodes, links } => {
                Layout::unnamed(nodes, random::scale_free(nodes, links.max(1), random))
            }
            Self::SmallWorld {
                nodes,
                links,
                rewired,
            } => Layout::unnamed(nodes, random::small_world(nodes, links, rewired, random)),
            Self::File { ref path, islands } => edge_list::read(&directory.join(path), islands)?,
        })
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
mod tests;
