//! A model of readers beside the owner, in every order of their steps. loom reports an access to a node that
//! another thread may be writing.

use loom::thread;

use super::*;

/// Reads all places of a view, as often as it is asked to. Each node that it sees must be of the view's version.
fn read_all(view: &Arena<u32>, version: u32, times: u32) {
    for _ in 0..times {
        let seen: Vec<_> = (0..view.limit).filter_map(|id| view.get(id)).collect();
        assert_eq!(seen, [&version]);
    }
}

/// A view sees its node, and nothing of those that the owner puts into free slots beside it. The owner reuses
/// the slot of the view's own node only after the view is gone.
#[test]
fn a_slot_is_reused_once_no_view_sees_its_node() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let mut arena = Arena::new();
        let mut id = arena.alloc(0).unwrap();
        // A free slot, which the reader looks at as well.
        let spare = arena.alloc(0).unwrap();
        arena.retire(spare);
        let view = arena.clone();
        let reader = thread::spawn(move || read_all(&view, 0, 1));
        let mut limits = Vec::new();
        for version in 1..=3 {
            *arena.edit(&mut id).unwrap() = version;
            read_all(&arena.clone(), version, 1);
            limits.push(arena.limit);
        }
        reader.join().unwrap();
        assert!(arena.limit <= 3, "slots are reused: {limits:?}");
    });
}
