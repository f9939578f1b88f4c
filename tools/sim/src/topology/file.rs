//! Edge lists: two names a line are a link, more are a path through all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Layout;
use crate::error::Error;
use crate::node::NodeId;

pub(super) fn read(path: &Path) -> Result<Layout, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.into(),
        source,
    })?;
    Ok(parse(&text))
}

/// Nodes are numbered in the order in which they are first named. `#` begins a comment.
fn parse(text: &str) -> Layout {
    let mut layout = Layout::default();
    let mut known: BTreeMap<String, NodeId> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut last = None;
        for name in line.split_whitespace() {
            let node = *known.entry(name.into()).or_insert_with(|| {
                layout.names.push(name.into());
                layout.nodes += 1;
                layout.nodes - 1
            });
            if let Some(last) = last.replace(node)
                && last != node
                && seen.insert((node.min(last), node.max(last)))
            {
                layout.links.push((last, node));
            }
        }
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_paths() {
        let layout = parse("a b\n# nothing\n\nb c d a # a path\nb a\ne\nf f\n");
        assert_eq!(layout.names, ["a", "b", "c", "d", "e", "f"]);
        assert_eq!(layout.nodes, 6);
        assert_eq!(layout.links, [(0, 1), (1, 2), (2, 3), (3, 0)]);
    }
}
