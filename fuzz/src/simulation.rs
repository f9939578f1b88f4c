//! The simulator's files.

use pinecone_sim::{Error, Scenario};

/// A scenario that is refused names a line that the text has.
pub fn scenario(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // Without it, a `[small]` table is checked too, and its network is laid out: too slow.
    let small = text.contains("small");
    if let Err(Error::Input { line, wrong, .. }) = Scenario::parse(text, small) {
        assert!(
            (1..=text.matches('\n').count() + 1).contains(&line),
            "{line}: {wrong}"
        );
        assert!(!wrong.is_empty() && !wrong.contains('\n'), "{wrong:?}");
    }
}
