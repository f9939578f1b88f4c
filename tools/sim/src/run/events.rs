//! What a scenario lets happen to its network.

use super::Run;
use super::todo::Todo;
use crate::error::Error;
use crate::ids::LinkId;
use crate::ids::NodeId;
use crate::link::How;
use crate::report::Mark;
use crate::scenario::{Action, NodeRef, millionths};
use crate::time::{Nanos, SECOND};
use crate::topology::near;

impl Run<'_> {
    /// An event begins.
    pub(super) fn begin(&mut self, number: usize) -> Result<(), Error> {
        let scenario = self.scenario;
        let Some(event) = scenario.event.get(number) else {
            return Ok(());
        };
        let name = self.event_names.get(number).cloned().unwrap_or_default();
        self.report.events.push(Mark::new(name, self.now()));
        self.apply(number, &event.action).map_err(|wrong| {
            let key = format!("event.{number}");
            scenario.source.error(&key, wrong)
        })
    }

    fn apply(&mut self, number: usize, action: &Action) -> Result<(), String> {
        match *action {
            Action::AddNodes { count, links } => self.add_nodes(count, links),
            Action::RemoveNodes { count, how } => {
                let mut alive = self.network.alive();
                self.events.choose(&mut alive, count);
                for &node in alive.iter().take(count) {
                    self.network.stop(node, how);
                }
            }
            Action::Stop { ref node, how } => {
                let node = self.resolve(node)?;
                self.network.stop(node, how);
            }
            Action::Start { ref node } => {
                let (node, now) = (self.resolve(node)?, self.now());
                self.network.start(node, now);
            }
            Action::Link { ref a, ref b } => {
                let (a, b) = (self.resolve(a)?, self.resolve(b)?);
                if a == b {
                    return Err("a node cannot be linked to itself".into());
                }
                self.add_link(a, b);
            }
            Action::Cut { ref a, ref b, how } => {
                for link in self.links_between(a, b)? {
                    self.network.cut(link, how);
                }
            }
            Action::Heal { ref a, ref b } => {
                for link in self.links_between(a, b)? {
                    self.network.heal(link);
                }
            }
            Action::CutLinks {
                count,
                how,
                heal_after,
            } => self.cut_links(count, how, heal_after),
            Action::SetLinks {
                latency,
                bandwidth,
                loss,
            } => self.set_links(latency, bandwidth, loss),
            Action::Partition { share, how } => self.partition(share, how),
            Action::Merge {} => {
                for link in 0..self.network.link_count() as LinkId {
                    self.network.heal(link);
                }
            }
            Action::Join { links } => self.join(links),
            Action::KillRoot { how } => {
                if let Some(root) = self.network.highest() {
                    self.network.stop(root, how);
                }
            }
            Action::FlapRoot { times, .. } => self.go_on(Todo::FlapDown { number, times }),
            Action::Churn {
                rate,
                lasting,
                down,
                same_key,
                how,
            } => {
                self.churn(
                    rate,
                    lasting,
                    Todo::Leave {
                        down,
                        same_key,
                        how,
                    },
                );
            }
            Action::Move { rounds, .. } => self.go_on(Todo::Move { number, rounds }),
        }
        Ok(())
    }

    /// Goes on with what an event began.
    pub(super) fn go_on(&mut self, todo: Todo) {
        let now = self.now();
        match todo {
            Todo::Leave {
                down,
                same_key,
                how,
            } => {
                if let Some(&node) = self.events.pick(&self.network.alive()) {
                    self.network.stop(node, how);
                    self.todo.push(now + down, Todo::Return { node, same_key });
                }
            }
            Todo::Return { node, same_key } => {
                if !same_key {
                    self.network.renew(node);
                }
                self.network.start(node, now);
            }
            Todo::FlapDown { number, times } => {
                if let (Some(Action::FlapRoot { down, how, .. }), Some(node)) =
                    (self.action(number), self.network.highest())
                {
                    self.network.stop(node, how);
                    let up = Todo::FlapUp {
                        number,
                        times,
                        node,
                    };
                    self.todo.push(now + down, up);
                }
            }
            Todo::FlapUp {
                number,
                times,
                node,
            } => {
                self.network.start(node, now);
                if let (Some(Action::FlapRoot { up, .. }), 2..) = (self.action(number), times) {
                    let times = times - 1;
                    self.todo.push(now + up, Todo::FlapDown { number, times });
                }
            }
            Todo::Heal(links) => links.into_iter().for_each(|link| self.network.heal(link)),
            Todo::Move { number, rounds } => {
                if let (Some(Action::Move { every, .. }), 1..) = (self.action(number), rounds) {
                    self.move_nodes(number);
                    let rounds = rounds - 1;
                    self.todo.push(now + every, Todo::Move { number, rounds });
                }
            }
            Todo::Sample | Todo::Pings | Todo::Adversary(_) | Todo::Event(_) => {}
        }
    }

    fn action(&self, number: usize) -> Option<Action> {
        self.scenario
            .event
            .get(number)
            .map(|event| event.action.clone())
    }

    fn links_between(&mut self, a: &NodeRef, b: &NodeRef) -> Result<Vec<LinkId>, String> {
        let (a, b) = (self.resolve(a)?, self.resolve(b)?);
        let joins = |&link: &LinkId| {
            let ends = self.network.link(link);
            ends.is_some_and(|(x, y, _)| (x, y) == (a, b) || (y, x) == (a, b))
        };
        let links: Vec<_> = self
            .network
            .links_of(a)
            .iter()
            .copied()
            .filter(joins)
            .collect();
        match links.is_empty() {
            true => Err(format!(
                "nodes {} and {} are not linked",
                self.layout.name(a),
                self.layout.name(b)
            )),
            false => Ok(links),
        }
    }

    fn add_nodes(&mut self, count: u32, links: u32) {
        let before = self.network.alive();
        for _ in 0..count {
            let node = self.network.add_node();
            let now = self.now();
            self.network.start(node, now);
            let mut others = before.clone();
            self.events.choose(&mut others, links as usize);
            for &other in others.iter().take(links as usize) {
                self.add_link(other, node);
            }
        }
    }

    fn live_links(&self) -> Vec<LinkId> {
        let all = 0..self.network.link_count() as LinkId;
        all.filter(|&link| self.network.link(link).is_some_and(|(_, _, up)| up))
            .collect()
    }

    fn cut_links(&mut self, count: usize, how: How, heal_after: Option<Nanos>) {
        let mut links = self.live_links();
        self.events.choose(&mut links, count);
        links.truncate(count);
        for &link in &links {
            self.network.cut(link, how);
        }
        if let Some(after) = heal_after {
            self.todo.push(self.now() + after, Todo::Heal(links));
        }
    }

    fn set_links(
        &mut self,
        latency: Option<(Nanos, Nanos)>,
        bandwidth: Option<u64>,
        loss: Option<f64>,
    ) {
        for link in 0..self.network.link_count() as LinkId {
            let Some(mut options) = self.network.link_options(link) else {
                continue;
            };
            if let Some((low, high)) = latency {
                options.latency = self.links.between(low, high);
            }
            options.bandwidth = bandwidth.unwrap_or(options.bandwidth);
            options.loss = loss.map_or(options.loss, millionths);
            self.network.set_link(link, options);
        }
    }

    fn partition(&mut self, share: f64, how: How) {
        let nodes = self.network.node_count() as u64;
        let first = (nodes * u64::from(millionths(share)) / 1_000_000) as NodeId;
        for link in self.live_links() {
            if let Some((a, b, _)) = self.network.link(link)
                && (a < first) != (b < first)
            {
                self.network.cut(link, how);
            }
        }
    }

    fn join(&mut self, links: u32) {
        let copies = self.scenario.network.copies;
        let size = self.layout.nodes / copies;
        for copy in 1..copies {
            for _ in 0..links {
                let [a, b] = [copy - 1, copy]
                    .map(|copy| copy * size + self.events.below(u64::from(size)) as NodeId);
                self.add_link(a, b);
            }
        }
    }

    fn churn(&mut self, rate: f64, lasting: Nanos, leave: Todo) {
        let nodes = self.network.alive().len() as u128;
        let a_minute = nodes * (rate * 1e6).round() as u128;
        let count = (a_minute * u128::from(lasting) / u128::from(60 * SECOND) / 1_000_000) as u64;
        let slot = lasting / count.max(1);
        for n in 0..count {
            let at = self.now() + n * slot + self.events.below(slot);
            self.todo.push(at, leave.clone());
        }
    }

    /// A round of moves: everybody goes somewhere near, and links follow.
    fn move_nodes(&mut self, number: usize) {
        let Some(Action::Move {
            range, step, how, ..
        }) = self.action(number)
        else {
            return;
        };
        let side = match self.scenario.topology {
            crate::topology::Topology::RandomGeometric { side, .. } => i64::from(side) * 1000,
            _ => return,
        };
        let step = i64::from(step) * 1000;
        for place in &mut self.places {
            let (dx, dy) = loop {
                let mut draw = || self.mobility.below(2 * step as u64 + 1) as i64 - step;
                let (dx, dy) = (draw(), draw());
                if dx * dx + dy * dy <= step * step {
                    break (dx, dy);
                }
            };
            place.0 = (place.0 + dx).clamp(0, side);
            place.1 = (place.1 + dy).clamp(0, side);
        }
        let wanted = near(&self.places, i64::from(range) * 1000);
        let pairs: Vec<_> = self
            .pairs
            .iter()
            .map(|(pair, link)| (*pair, *link))
            .collect();
        for (pair, link) in pairs {
            let up = self.network.link(link).is_some_and(|(_, _, up)| up);
            match (wanted.binary_search(&pair).is_ok(), up) {
                (true, false) => self.network.heal(link),
                (false, true) => self.network.cut(link, how),
                _ => {}
            }
        }
        for (a, b) in wanted {
            if !self.pairs.contains_key(&(a, b)) {
                self.add_link(a, b);
            }
        }
    }
}
