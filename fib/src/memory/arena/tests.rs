use std::sync::atomic::AtomicBool;

use super::*;

/// The number of versions of a long history. Miri is a thousand times slower.
const VERSIONS: u64 = if cfg!(miri) { 20 } else { 4000 };

#[test]
fn a_view_sees_its_version_and_no_other() {
    let mut arena = Arena::new();
    let mut id = arena.alloc(1u64).unwrap();
    let old = arena.clone();
    let first = id;
    *arena.edit(&mut id).unwrap() = 2;
    assert_ne!(id, first);
    assert_eq!((old.get(first), old.get(id)), (Some(&1), None));
    assert_eq!((arena.get(first), arena.get(id)), (None, Some(&2)));
    let new = arena.clone();
    assert_eq!((new.get(first), new.get(id)), (None, Some(&2)));
    assert_eq!(new.get(id + 1), None);
    assert_eq!(new.get(u32::MAX), None);
    arena.retire(id);
    assert_eq!(arena.get(id), None);
    assert_eq!((old.get(first), new.get(id)), (Some(&1), Some(&2)));
    drop((old, new));
    // Their slots are reused, and the new view does not see the new nodes.
    let seen = arena.clone();
    for n in 10..20 {
        arena.alloc(n);
    }
    assert_eq!(arena.bytes(), 10 * 64);
    assert!((0..20).all(|id| seen.get(id).is_none()));
}

#[test]
fn a_view_cannot_be_edited() {
    let mut arena = Arena::new();
    let mut id = arena.alloc(1u64).unwrap();
    let mut view = arena.clone();
    assert!(arena.can_edit() && !view.can_edit());
    assert_eq!(view.alloc(2), None);
    assert_eq!(view.edit(&mut id), None);
    assert_eq!(view.get_mut(id), None);
    view.retire(id);
    assert_eq!(view.get(id), Some(&1));
    assert_eq!(view.clone().get(id), Some(&1));
    assert_eq!(arena.get_mut(id), None, "a view sees it");
}

#[test]
fn an_old_view_keeps_only_what_it_sees() {
    let mut arena = Arena::new();
    let mut ids: Vec<_> = (0..10u64).map(|n| arena.alloc(n).unwrap()).collect();
    let kept = ids.clone();
    let idle = arena.clone();
    let mut busy = arena.clone();
    for round in 1..VERSIONS / 4 {
        for id in &mut ids {
            *arena.edit(id).unwrap() += 10;
        }
        let expected = |n: u64, view: &Arena<u64>| view.get(kept[n as usize]) == Some(&n);
        assert!((0..10).all(|n| expected(n, &idle)));
        busy = arena.clone();
        assert_eq!(busy.get(ids[3]), Some(&(10 * round + 3)));
    }
    assert!(arena.bytes() <= 40 * 64, "{} bytes", arena.bytes());
    drop((idle, busy));
}

/// A view that was made before the first chunk moved still reads the old one.
#[test]
fn views_outlive_the_moves_of_a_growing_chunk() {
    let mut arena = Arena::new();
    let mut views = Vec::new();
    let mut ids = Vec::new();
    for n in 0..2 * MAPPED as u64 {
        ids.push(arena.alloc(n).unwrap());
        if n.is_power_of_two() || n % 7 == 0 {
            views.push((n, ids.clone(), arena.clone()));
        }
        // Every node differs in each view.
        for id in &mut ids {
            *arena.edit(id).unwrap() += 1000;
        }
    }
    for (last, ids, view) in views {
        for (n, id) in (0..=last).zip(&ids) {
            assert_eq!(view.get(*id), Some(&(n + 1000 * (last - n))));
        }
        assert_eq!(ids.len() as u64, last + 1);
    }
    let expected = |n: u64| n + 1000 * (2 * MAPPED as u64 - n);
    assert!(
        (0..)
            .zip(&ids)
            .all(|(n, id)| arena.get(*id) == Some(&expected(n)))
    );
}

#[test]
fn many_chunks() {
    let mut arena = Arena::new();
    let n = 3 * CHUNK as u64 + 7;
    let ids: Vec<_> = (0..n).map(|n| arena.alloc(n).unwrap()).collect();
    let view = arena.clone();
    drop(arena);
    assert!(
        ids.iter()
            .zip(0..n)
            .all(|(id, n)| view.get(*id) == Some(&n))
    );
}

/// Readers find complete nodes of their version while the owner keeps replacing all of them.
#[test]
fn readers_beside_an_editing_owner() {
    const NODES: u32 = if cfg!(miri) { 5 } else { 50 };
    let mut arena = Arena::new();
    let mut ids: Vec<_> = (0..NODES)
        .map(|_| arena.alloc([0u64; 20]).unwrap())
        .collect();
    let shared = Mutex::new((0, ids.clone(), arena.clone()));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let (version, ids, view) = shared.lock().unwrap().clone();
                    for id in ids {
                        assert_eq!(view.get(id), Some(&[version; 20]));
                    }
                    // Any other slot holds a node of that version, or none that the view sees.
                    for id in 0..8 * NODES {
                        assert!(view.get(id).is_none_or(|node| *node == [version; 20]));
                    }
                }
            });
        }
        for version in 1..VERSIONS {
            for id in &mut ids {
                *arena.edit(id).unwrap() = [version; 20];
            }
            *shared.lock().unwrap() = (version, ids.clone(), arena.clone());
        }
        stop.store(true, Ordering::Relaxed);
    });
}
