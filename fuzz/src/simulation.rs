//! The simulator's files.

use std::collections::BTreeSet;

use pinecone_sim::{Error, Scenario, topology as topologies};

/// A scenario that is refused names a line that the text has.
pub fn scenario(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // Without it, a `[small]` table is checked too, and its network is laid out: too slow.
    let small = text.contains("small");
    if let Err(error) = Scenario::parse(text, small) {
        assert_helps(text, &error);
    }
}

/// A topology that is accepted links only nodes that it names, and names each once. One that is refused
/// names a line that the text has.
pub fn topology(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let with_islands = topologies::parse(text, true);
    match topologies::parse(text, false) {
        Ok(layout) => {
            assert_eq!(layout.names.len(), layout.nodes as usize);
            let names: BTreeSet<_> = layout.names.iter().collect();
            assert_eq!(names.len(), layout.names.len());
            assert!(names.iter().all(|name| text.contains(name.as_str())));
            let ends = |&(a, b): &(u32, u32)| a != b && a < layout.nodes && b < layout.nodes;
            assert!(!layout.links.is_empty() && layout.links.iter().all(ends));
            // Islands are allowed, not required.
            assert_eq!(with_islands.unwrap().links, layout.links);
        }
        Err(error) => assert_helps(text, &error),
    }
}

/// A mistake is one line of text, and names a line of the input.
fn assert_helps(text: &str, error: &Error) {
    if let Error::Input { line, wrong, .. } = error {
        let lines = text.matches('\n').count() + 1;
        assert!((1..=lines).contains(line), "{line}: {wrong}");
        assert!(!wrong.is_empty() && !wrong.contains('\n'), "{wrong:?}");
    }
}
