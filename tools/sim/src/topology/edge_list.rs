//! Topology files: lists of links.
//!
//! A line with two names is a link. A line with more names is a path: each name is linked to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::layout::{Layout, MAX_LINKS, MAX_NODES};
use crate::error::Error;
use crate::graph::Graph;
use crate::ids::NodeId;
use crate::input;

/// Parses the text of a topology file. Unless `islands` is set, links must join all nodes.
///
/// # Errors
/// [`Error::Input`] with the line and what to write there. It calls the file `topology`.
pub fn parse(text: &str, islands: bool) -> Result<Layout, Error> {
    parse_file(Path::new("topology"), text, islands)
}

pub(super) fn read(path: &Path, islands: bool) -> Result<Layout, Error> {
    parse_file(path, &input::read(path)?, islands)
}

fn parse_file(path: &Path, text: &str, islands: bool) -> Result<Layout, Error> {
    parse_lines(text, islands).map_err(|(line, wrong)| Error::Input {
        file: path.into(),
        line,
        wrong,
    })
}

/// Numbers nodes in the order in which they are first named. `#` begins a comment.
///
/// Paths may repeat links and names, as paths of routing protocols do. A line of two names declares
/// a link, so a repetition there is a mistake.
fn parse_lines(text: &str, islands: bool) -> Result<Layout, (usize, String)> {
    let mut layout = Layout::default();
    let mut known: BTreeMap<&str, NodeId> = BTreeMap::new();
    let mut first_lines = Vec::new();
    let mut seen = BTreeSet::new();
    let mut single: BTreeMap<(NodeId, NodeId), usize> = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let mut nodes = Vec::new();
        for name in line.split_whitespace() {
            check_name(name).map_err(|wrong| (number, wrong))?;
            nodes.push(*known.entry(name).or_insert_with(|| {
                layout.names.push(name.into());
                first_lines.push(number);
                layout.nodes += 1;
                layout.nodes - 1
            }));
        }
        if let [a, b] = nodes[..] {
            let text = line.trim();
            if a == b {
                let wrong = format!("`{text}` links a node to itself: write two names");
                return Err((number, wrong));
            }
            if let Some(before) = single.insert((a.min(b), a.max(b)), number) {
                let wrong =
                    format!("`{text}` is the link of line {before} again: write each link once");
                return Err((number, wrong));
            }
        }
        for (&a, &b) in nodes.iter().zip(nodes.iter().skip(1)) {
            if a != b && seen.insert((a.min(b), a.max(b))) {
                layout.links.push((a, b));
            }
        }
        if u64::from(layout.nodes) > MAX_NODES || layout.links.len() as u64 > MAX_LINKS {
            let wrong = format!("write at most {MAX_NODES} nodes and {MAX_LINKS} links");
            return Err((number, wrong));
        }
    }
    if layout.links.is_empty() {
        let wrong = "there are no links: write two names a line, like `a b`";
        return Err((first_lines.first().copied().unwrap_or(1), wrong.into()));
    }
    match islands {
        true => Ok(layout),
        false => check_joined(&layout, &first_lines).map(|()| layout),
    }
}

/// Refuses words that are more likely a mistake than a name.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_alphanumeric() || "_.:-".contains(c);
    if !name.chars().all(allowed) || !name.contains(char::is_alphanumeric) {
        return Err(format!(
            "`{name}` is not the name of a node: write names of letters, digits, `_`, `.`, `:` and `-` \
             with spaces between, like `a b`"
        ));
    }
    if ["root", "hub", "random"].contains(&name) {
        return Err(format!(
            "`{name}` has a meaning of its own in scenarios: write another name"
        ));
    }
    Ok(())
}

/// Refuses a network that its links do not join into one.
fn check_joined(layout: &Layout, first_lines: &[usize]) -> Result<(), (usize, String)> {
    let graph = Graph::new(layout.nodes as usize, &layout.links);
    let components = graph.components();
    // Node 0 is in component 0.
    let Some(apart) = components.iter().position(|&component| component != 0) else {
        return Ok(());
    };
    let name = |node: usize| layout.names.get(node).map_or("", String::as_str);
    let line = first_lines.get(apart).copied().unwrap_or(1);
    let wrong = match graph.neighbours(apart as NodeId).is_empty() {
        true => format!("`{}` has no link: write two names, like `a b`", name(apart)),
        false => format!(
            "no link joins `{}` and `{}`: write one",
            name(apart),
            name(0)
        ),
    };
    let hint = "or `islands = true` in the scenario's topology if that is meant";
    Err((line, format!("{wrong}, {hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_paths() {
        let text = "a b\n# nothing\n\nb c d a # a path\nb b c a\ne\n";
        let layout = parse_lines(text, true).unwrap();
        assert_eq!(layout.names, ["a", "b", "c", "d", "e"]);
        assert_eq!(layout.nodes, 5);
        assert_eq!(layout.links, [(0, 1), (1, 2), (2, 3), (3, 0), (2, 0)]);
        assert!(parse_lines("a b\r\nb c\r\nb\r\n", false).is_ok());
    }

    #[test]
    fn mistakes() {
        for (text, line, hint) in [
            ("# x\na,b\nb,c\n", 2, "with spaces between, like `a b`"),
            ("a b\na -- b;\n", 2, "with spaces between"),
            ("a b\nb -> c\n", 2, "with spaces between"),
            ("a b\n\"b\" c\n", 2, "with spaces between"),
            ("a\nb\n", 1, "write two names a line"),
            ("", 1, "write two names a line"),
            ("a b\ne\n", 2, "`e` has no link: write two names"),
            (
                "a b\nc d\n",
                2,
                "no link joins `c` and `a`: write one, or `islands = true`",
            ),
            ("a b\nb b\n", 2, "links a node to itself: write two names"),
            (
                "a b\nb c\nb a\n",
                3,
                "the link of line 1 again: write each link once",
            ),
            ("a hub\n", 1, "write another name"),
        ] {
            let (found, wrong) = parse_lines(text, false).unwrap_err();
            assert_eq!(found, line, "{text}: {wrong}");
            assert!(wrong.contains(hint), "{text}: {wrong}");
        }
    }
}
