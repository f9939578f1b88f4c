//! The events of a scenario.

use super::mobility::move_nodes;
use super::step::Step;
use super::world::World;
use crate::error::Error;
use crate::ids::{LinkId, NodeId};
use crate::link::How;
use crate::scenario::{Action, NodeRef, millionths};
use crate::time::{Nanos, SECOND};

/// Begins the event with this number.
pub(super) fn begin(world: &mut World<'_>, number: usize) -> Result<(), Error> {
    let scenario = world.scenario;
    let Some(action) = world.action(number) else {
        return Ok(());
    };
    apply(world, number, action).map_err(|wrong| {
        let key = format!("event.{number}");
        scenario.source.error(&key, wrong)
    })
}

/// Performs a later step of an event.
pub(super) fn resume(world: &mut World<'_>, step: Step) {
    let now = world.now();
    match step {
        Step::Leave {
            down,
            same_key,
            how,
        } => {
            if let Some(&node) = world.events.pick(&world.network.alive()) {
                world.network.stop(node, how);
                world
                    .steps
                    .push(now + down, Step::Return { node, same_key });
            }
        }
        Step::Return { node, same_key } => {
            if !same_key {
                world.network.renew(node);
            }
            world.network.start(node, now);
        }
        Step::FlapDown { number, times } => {
            if let (Some(&Action::FlapRoot { down, how, .. }), Some(node)) =
                (world.action(number), world.network.highest())
            {
                world.network.stop(node, how);
                let up = Step::FlapUp {
                    number,
                    times,
                    node,
                };
                world.steps.push(now + down, up);
            }
        }
        Step::FlapUp {
            number,
            times,
            node,
        } => {
            world.network.start(node, now);
            if let (Some(&Action::FlapRoot { up, .. }), 2..) = (world.action(number), times) {
                let times = times - 1;
                world.steps.push(now + up, Step::FlapDown { number, times });
            }
        }
        Step::Heal(links) => links.into_iter().for_each(|link| world.network.heal(link)),
        Step::Move { number, rounds } => {
            if let (Some(&Action::Move { every, .. }), 1..) = (world.action(number), rounds) {
                move_nodes(world, number);
                let rounds = rounds - 1;
                world.steps.push(now + every, Step::Move { number, rounds });
            }
        }
        Step::Sample | Step::Pings | Step::Adversary(_) | Step::Event(_) => {}
    }
}

fn apply(world: &mut World<'_>, number: usize, action: &Action) -> Result<(), String> {
    match *action {
        Action::AddNodes { count, links } => add_nodes(world, count, links),
        Action::RemoveNodes { count, how } => {
            let mut alive = world.network.alive();
            world.events.choose(&mut alive, count);
            for &node in alive.iter().take(count) {
                world.network.stop(node, how);
            }
        }
        Action::Stop { ref node, how } => {
            let node = world.resolve(node)?;
            world.network.stop(node, how);
        }
        Action::Start { ref node } => {
            let (node, now) = (world.resolve(node)?, world.now());
            world.network.start(node, now);
        }
        Action::Link { ref a, ref b } => {
            let (a, b) = (world.resolve(a)?, world.resolve(b)?);
            if a == b {
                return Err("a node cannot be linked to itself".into());
            }
            world.add_link(a, b);
        }
        Action::Cut { ref a, ref b, how } => {
            for link in links_between(world, a, b)? {
                world.network.cut(link, how);
            }
        }
        Action::Heal { ref a, ref b } => {
            for link in links_between(world, a, b)? {
                world.network.heal(link);
            }
        }
        Action::CutLinks {
            count,
            how,
            heal_after,
        } => cut_links(world, count, how, heal_after),
        Action::SetLinks {
            latency,
            bandwidth,
            loss,
        } => set_links(world, latency, bandwidth, loss),
        Action::Partition { share, how } => partition(world, share, how),
        Action::Merge {} => {
            for link in 0..world.network.link_count() as LinkId {
                world.network.heal(link);
            }
        }
        Action::Join { links } => join(world, links),
        Action::KillRoot { how } => {
            if let Some(root) = world.network.highest() {
                world.network.stop(root, how);
            }
        }
        Action::FlapRoot { times, .. } => resume(world, Step::FlapDown { number, times }),
        Action::Churn {
            rate,
            lasting,
            down,
            same_key,
            how,
        } => {
            let leave = Step::Leave {
                down,
                same_key,
                how,
            };
            churn(world, rate, lasting, &leave);
        }
        Action::Move { rounds, .. } => resume(world, Step::Move { number, rounds }),
    }
    Ok(())
}

fn links_between(world: &mut World<'_>, a: &NodeRef, b: &NodeRef) -> Result<Vec<LinkId>, String> {
    let (a, b) = (world.resolve(a)?, world.resolve(b)?);
    let joins = |&link: &LinkId| {
        let ends = world.network.link(link);
        ends.is_some_and(|(x, y, _)| (x, y) == (a, b) || (y, x) == (a, b))
    };
    let links = world.network.links_of(a).iter().copied();
    let links: Vec<_> = links.filter(joins).collect();
    match links.is_empty() {
        true => Err(format!(
            "nodes {} and {} are not linked",
            world.layout.name(a),
            world.layout.name(b)
        )),
        false => Ok(links),
    }
}

fn add_nodes(world: &mut World<'_>, count: u32, links: u32) {
    let before = world.network.alive();
    for _ in 0..count {
        let node = world.network.add_node();
        let now = world.now();
        world.network.start(node, now);
        let mut others = before.clone();
        world.events.choose(&mut others, links as usize);
        for &other in others.iter().take(links as usize) {
            world.add_link(other, node);
        }
    }
}

/// Returns the links that are up.
fn live_links(world: &World<'_>) -> Vec<LinkId> {
    let all = 0..world.network.link_count() as LinkId;
    all.filter(|&link| world.network.link(link).is_some_and(|(_, _, up)| up))
        .collect()
}

fn cut_links(world: &mut World<'_>, count: usize, how: How, heal_after: Option<Nanos>) {
    let mut links = live_links(world);
    world.events.choose(&mut links, count);
    links.truncate(count);
    for &link in &links {
        world.network.cut(link, how);
    }
    if let Some(after) = heal_after {
        let at = world.now() + after;
        world.steps.push(at, Step::Heal(links));
    }
}

fn set_links(
    world: &mut World<'_>,
    latency: Option<(Nanos, Nanos)>,
    bandwidth: Option<u64>,
    loss: Option<f64>,
) {
    for link in 0..world.network.link_count() as LinkId {
        let Some(mut options) = world.network.link_options(link) else {
            continue;
        };
        if let Some((low, high)) = latency {
            options.latency = world.links.between(low, high);
        }
        options.bandwidth = bandwidth.unwrap_or(options.bandwidth);
        options.loss = loss.map_or(options.loss, millionths);
        world.network.set_link(link, options);
    }
}

fn partition(world: &mut World<'_>, share: f64, how: How) {
    let nodes = world.network.node_count() as u64;
    let first = (nodes * u64::from(millionths(share)) / 1_000_000) as NodeId;
    for link in live_links(world) {
        if let Some((a, b, _)) = world.network.link(link)
            && (a < first) != (b < first)
        {
            world.network.cut(link, how);
        }
    }
}

/// Links each copy of the topology to the next one.
fn join(world: &mut World<'_>, links: u32) {
    let copies = world.scenario.network.copies;
    let size = world.layout.nodes / copies;
    for copy in 1..copies {
        for _ in 0..links {
            let [a, b] = [copy - 1, copy]
                .map(|copy| copy * size + world.events.below(u64::from(size)) as NodeId);
            world.add_link(a, b);
        }
    }
}

/// Schedules the departures of nodes, one at a random time in each of as many equal slots.
fn churn(world: &mut World<'_>, rate: f64, lasting: Nanos, leave: &Step) {
    let nodes = world.network.alive().len() as u128;
    let per_minute = nodes * (rate * 1e6).round() as u128;
    let count = (per_minute * u128::from(lasting) / u128::from(60 * SECOND) / 1_000_000) as u64;
    let slot = lasting / count.max(1);
    for n in 0..count {
        let at = world.now() + n * slot + world.events.below(slot);
        world.steps.push(at, leave.clone());
    }
}
