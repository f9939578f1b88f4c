use proptest::prelude::*;

use super::*;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn route(key: u8, source: u32, destination: u32, sequence: u64) -> Route {
    Route {
        key: PublicKey([key; 32]),
        source: PortId(source),
        destination: (destination != 0).then_some(PortId(destination)),
        sequence,
        last_seen: secs(sequence),
        told: false,
        corrected: sequence.is_multiple_of(3),
        recent: !(sequence as u32),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u8, u32, u32),
    Remove(u8),
    RemovePort(u32),
    MovePort(u32, u32),
    RemoveOldest,
    Tell(u8),
    PassOn(u8, u32),
    ForgetFirstTo(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..20u8, 1..5u32, 0..5u32).prop_map(|(k, s, d)| Step::Insert(k, s, d)),
        2 => (0..20u8).prop_map(Step::Remove),
        1 => (1..5u32).prop_map(Step::RemovePort),
        1 => (1..5u32, 1..5u32).prop_map(|(from, to)| Step::MovePort(from, to)),
        1 => Just(Step::RemoveOldest),
        1 => (0..20u8).prop_map(Step::Tell),
        1 => (0..20u8, 0..5u32).prop_map(|(key, port)| Step::PassOn(key, port)),
        1 => (1..5u32).prop_map(Step::ForgetFirstTo),
    ]
}

proptest! {
    /// Compares the routes with a plain list in order of age.
    #[test]
    fn every_index_agrees_with_a_plain_list(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut routes = Routes::default();
        let mut model: Vec<Route> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(key, source, destination) => {
                    let route = route(key, source, destination, n as u64);
                    let known = model.iter().position(|r| r.key == route.key);
                    let before = known.map(|at| model.remove(at));
                    prop_assert_eq!(routes.insert(route), before);
                    model.push(route);
                }
                Step::Remove(key) => {
                    let key = PublicKey([key; 32]);
                    let known = model.iter().position(|r| r.key == key);
                    prop_assert_eq!(routes.remove(&key), known.map(|at| model.remove(at)));
                }
                Step::RemovePort(port) => {
                    let port = PortId(port);
                    routes.move_destination(port, None);
                    while let Some(key) = routes.oldest_from(port).map(|r| r.key) {
                        routes.remove(&key);
                    }
                    model.retain(|r| r.source != port);
                    for route in &mut model {
                        route.destination = route.destination.filter(|to| *to != port);
                    }
                }
                Step::MovePort(from, to) if from == to => {}
                Step::MovePort(from, to) => {
                    let (from, to) = (PortId(from), PortId(to));
                    routes.move_destination(from, Some(to));
                    let keys = routes.move_source(from, to);
                    let moved = model.iter().filter(|r| r.source == from);
                    let mut expected: Vec<_> = moved.map(|r| r.key).collect();
                    expected.sort_unstable();
                    let mut found = keys.clone();
                    found.sort_unstable();
                    prop_assert_eq!(found, expected);
                    for route in &mut model {
                        if route.source == from {
                            route.source = to;
                        }
                        if route.destination == Some(from) {
                            route.destination = Some(to);
                        }
                    }
                }
                Step::Tell(key) => {
                    let key = PublicKey([key; 32]);
                    routes.set_told(&key);
                    for route in model.iter_mut().filter(|r| r.key == key) {
                        route.told = true;
                    }
                }
                Step::PassOn(key, port) => {
                    let key = PublicKey([key; 32]);
                    let destination = (port != 0).then_some(PortId(port));
                    routes.pass_on(&key, destination);
                    for route in model.iter_mut().filter(|r| r.key == key) {
                        route.corrected = false;
                        route.destination = destination;
                    }
                }
                Step::ForgetFirstTo(port) => {
                    let port = Some(PortId(port));
                    let first = port.and_then(|port| routes.first_going_to(port));
                    let any = model.iter().any(|r| r.destination == port);
                    prop_assert_eq!(first.is_some(), any);
                    if let Some(first) = first {
                        prop_assert_eq!(first.destination, port);
                        routes.forget_destination(&first.key);
                        for route in model.iter_mut().filter(|r| r.key == first.key) {
                            route.destination = None;
                        }
                    }
                }
                Step::RemoveOldest => {
                    prop_assert_eq!(routes.oldest(), model.first().copied());
                    if !model.is_empty() {
                        let oldest = model.remove(0);
                        prop_assert_eq!(routes.remove(&oldest.key), Some(oldest));
                    }
                }
            }
            prop_assert_eq!(routes.len(), model.len());
            prop_assert_eq!(routes.by_age.len as usize, model.len());
            for route in &model {
                prop_assert_eq!(routes.get(&route.key), Some(*route));
            }
            let mut most = 0;
            for port in (0..5).map(PortId) {
                let of_port = || model.iter().filter(|r| r.source == port);
                prop_assert_eq!(routes.learned_from(port), of_port().count());
                // Moved routes come after those that were there before.
                prop_assert_eq!(
                    routes.oldest_from(port).is_some(),
                    of_port().next().is_some()
                );
                most = most.max(of_port().count());
                let on = |r: &&Route| r.destination == Some(port);
                prop_assert_eq!(
                    routes.by_destination.get(&port).map_or(0, |list| list.len as usize),
                    model.iter().filter(on).count()
                );
            }
            prop_assert_eq!(routes.sizes.last().map_or(0, |(n, _)| *n as usize), most);
        }
    }
}

#[test]
fn memory_of_many_routes_is_given_back() {
    let key = |n: u16| {
        let mut key = PublicKey::MIN;
        key.0[..2].copy_from_slice(&n.to_be_bytes());
        key
    };
    let mut routes = Routes::default();
    for n in 0..5000u16 {
        let destination = n.is_multiple_of(3).then_some(PortId(2));
        routes.insert(Route {
            key: key(n),
            destination,
            ..route(0, u32::from(n % 7), 0, u64::from(n))
        });
    }
    for n in 0..4900 {
        assert!(routes.remove(&key(n)).is_some());
    }
    assert!(routes.slots.0.capacity() < 200);
    for n in 4900..5000 {
        assert_eq!(routes.oldest().map(|oldest| oldest.key), Some(key(n)));
        let gone = routes.remove(&key(n)).unwrap();
        assert_eq!(gone.sequence, u64::from(n));
    }
    assert!(routes.by_source.is_empty() && routes.by_destination.is_empty());
}

/// A route that has left the list of its destination keeps no links from there.
#[test]
fn routes_move_after_one_was_taken_from_its_destination() {
    let mut routes = Routes::default();
    let key = |n: u8| PublicKey([n; 32]);
    for n in 0..20 {
        routes.insert(route(n, 1, 2, u64::from(n)));
    }
    routes.forget_destination(&key(10));
    for n in (0..10).chain(11..18) {
        assert!(routes.remove(&key(n)).is_some());
    }
    assert!(routes.slots.0.len() < 10, "they have moved");
    assert_eq!(routes.get(&key(10)).unwrap().destination, None);
    assert_eq!(routes.first_going_to(PortId(2)).unwrap().key, key(18));
}

#[test]
fn room_is_made_at_the_expense_of_the_one_with_most() {
    let mut routes = Routes::default();
    for key in 0..8 {
        routes.insert(route(key, 1, 0, u64::from(key)));
    }
    routes.insert(route(8, 2, 0, 8));
    routes.insert(route(9, 2, 0, 9));
    let room = |routes: &Routes, port| routes.room(PortId(port), 10, 9);
    assert_eq!(room(&routes, 1), Room::None, "it has the most itself");
    assert_eq!(room(&routes, 2), Room::Evict(PortId(1)));
    assert_eq!(room(&routes, 3), Room::Evict(PortId(1)));
    assert_eq!(routes.room(PortId(2), 11, 9), Room::Free);
    assert_eq!(routes.room(PortId(1), 11, 8), Room::None, "its own share");
}
