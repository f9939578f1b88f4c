//! Running a scenario from its start to its end.

mod events;
mod pings;
mod todo;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::adversary::{Adversary, Mischief};
use crate::error::Error;
use crate::ids::LinkId;
use crate::ids::NodeId;
use crate::measure::Measurer;
use crate::network::Network;
use crate::queue::Queue;
use crate::random::{Random, Stream};
use crate::report::{Mark, Report};
use crate::scenario::{MischiefSettings, NodeRef, Scenario, millionths};
use crate::time::{Nanos, seconds};
use crate::topology::{Layout, Place};

use self::todo::Todo;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// In seconds of virtual time.
    pub at: f64,
    /// How many there are.
    pub of: f64,
    /// The share of pairs that reached each other by key in the last sample; none where no pair
    /// was tried.
    pub reach: Option<f64>,
}

/// Runs a scenario. `progress` is told after every sample.
///
/// # Errors
/// What is wrong with the scenario that could not be seen before.
pub fn run(scenario: &Scenario, mut progress: impl FnMut(Progress)) -> Result<Report, Error> {
    let mut run = Run::new(scenario)?;
    while let Some((at, todo)) = run.todo.pop(scenario.duration) {
        run.network.run_until(at);
        let sampled = todo == Todo::Sample;
        run.act(todo)?;
        if let (true, Some(last)) = (sampled, run.report.samples.last()) {
            progress(Progress {
                at: last.at,
                of: seconds(scenario.duration),
                reach: last.snek.share,
            });
        }
    }
    run.network.run_until(scenario.duration);
    Ok(run.finish())
}

/// A run under way.
struct Run<'a> {
    scenario: &'a Scenario,
    layout: Layout,
    network: Network,
    todo: Queue<Todo>,
    measurer: Measurer,
    report: Report,
    /// The numbers of each round's pings.
    rounds: Vec<Range<usize>>,
    event_names: Vec<String>,
    links: Random,
    events: Random,
    pings: Random,
    mobility: Random,
    /// Where nodes are that move, and the links that they have had.
    places: Vec<Place>,
    pairs: BTreeMap<(NodeId, NodeId), LinkId>,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario) -> Result<Self, Error> {
        let seed = scenario.seed;
        let random = |stream| Random::new(seed, stream);
        let layout = scenario.lay_out()?;
        let network = Network::new(seed, scenario.node_options());
        let mut run = Self {
            scenario,
            network,
            todo: Queue::new(),
            measurer: Measurer::new(seed, scenario.measure.pairs),
            report: Report::new(scenario, layout.nodes as usize, layout.links.len()),
            rounds: Vec::new(),
            event_names: scenario.event_names(),
            links: random(Stream::Links),
            events: random(Stream::Events),
            pings: random(Stream::Pings),
            mobility: random(Stream::Mobility),
            places: layout.places.clone(),
            pairs: BTreeMap::new(),
            layout,
        };
        run.set_up();
        for number in 0..scenario.adversary.len() {
            let at = scenario.adversary.get(number).map_or(0, |a| a.at);
            run.todo.push(at, Todo::Adversary(number));
        }
        for (number, event) in scenario.event.iter().enumerate() {
            run.todo.push(event.at, Todo::Event(number));
        }
        if let Some(pings) = &scenario.pings {
            run.todo.push(pings.from, Todo::Pings);
        }
        run.todo.push(scenario.measure.every, Todo::Sample);
        Ok(run)
    }

    /// The network as it is at the start.
    fn set_up(&mut self) {
        let mut starts = Random::new(self.scenario.seed, Stream::Starts);
        self.network.reserve_nodes(self.layout.nodes as usize);
        for _ in 0..self.layout.nodes {
            let node = self.network.add_node();
            let at = starts.below(self.scenario.network.start_within.max(1));
            self.network.start(node, at);
        }
        for (a, b) in self.layout.links.clone() {
            self.add_link(a, b);
        }
        self.report.events.push(Mark::new("start".into(), 0));
    }

    fn add_link(&mut self, a: NodeId, b: NodeId) -> LinkId {
        let options = self.scenario.link.draw(&mut self.links);
        let link = self.network.add_link(a, b, options);
        self.pairs.insert((a.min(b), a.max(b)), link);
        link
    }

    fn act(&mut self, todo: Todo) -> Result<(), Error> {
        match todo {
            Todo::Sample => {
                let sample = self.measurer.sample(&mut self.network);
                self.report.samples.push(sample);
                let next = self.network.now() + self.scenario.measure.every;
                self.todo.push(next, Todo::Sample);
            }
            Todo::Pings => self.ping_round(),
            Todo::Adversary(number) => self.corrupt(number)?,
            Todo::Event(number) => self.begin(number)?,
            other => self.go_on(other),
        }
        Ok(())
    }

    fn corrupt(&mut self, number: usize) -> Result<(), Error> {
        let Some(settings) = self.scenario.adversary.get(number) else {
            return Ok(());
        };
        let wrong = |wrong: String| {
            let key = format!("adversary.{number}");
            self.scenario.source.error(&key, wrong)
        };
        let node = self.resolve(&settings.node).map_err(wrong)?;
        let mischief = match &settings.mischief {
            MischiefSettings::Drop { frames, rate, peer } => Mischief::Drop {
                kinds: frames.iter().map(|&kind| kind.into()).collect(),
                rate: millionths(*rate),
                peer: match peer {
                    Some(peer) => Some(self.resolve(peer).map_err(wrong)?),
                    None => None,
                },
            },
            MischiefSettings::Flood { every, count } => Mischief::Flood {
                every: *every,
                count: *count,
            },
            MischiefSettings::Replay { every, times } => Mischief::Replay {
                every: *every,
                times: *times,
            },
            MischiefSettings::Deny { every } => Mischief::Deny { every: *every },
            MischiefSettings::Claim {} => Mischief::Claim,
        };
        self.network.set_adversary(node, Adversary::new(mischief));
        Ok(())
    }

    /// Which node is meant.
    fn resolve(&mut self, node: &NodeRef) -> Result<NodeId, String> {
        let found = match node {
            NodeRef::Number(number) => Some(*number),
            NodeRef::Name(name) => {
                let mut nodes = self.network.alive();
                if nodes.is_empty() {
                    // Nothing has started yet.
                    nodes = (0..self.network.node_count() as NodeId).collect();
                }
                let links = |&node: &NodeId| self.network.links_of(node).len();
                match name.as_str() {
                    "root" => nodes.into_iter().max_by_key(|&n| self.network.key(n)),
                    // The first of those with the most.
                    "hub" => nodes.into_iter().rev().max_by_key(links),
                    "random" => self.events.pick(&nodes).copied(),
                    name => {
                        let mut names = self.layout.names.iter();
                        names.position(|known| known == name).map(|at| at as NodeId)
                    }
                }
            }
        };
        found
            .filter(|&node| (node as usize) < self.network.node_count())
            .ok_or_else(|| format!("there is no node {node:?}"))
    }

    fn finish(mut self) -> Report {
        self.report
            .finish(self.scenario, &mut self.network, &self.rounds);
        self.report
    }

    fn now(&self) -> Nanos {
        self.network.now()
    }
}
