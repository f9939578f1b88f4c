//! Running a scenario from start to end.

mod adversaries;
mod events;
mod mobility;
mod ping_rounds;
mod step;
mod world;

use std::ops::Range;

use crate::error::Error;
use crate::measure::Measurer;
use crate::report::{Mark, Report};
use crate::scenario::Scenario;
use crate::time::seconds;

use self::step::Step;
use self::world::World;

/// The progress of a run.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The virtual time in seconds.
    pub at: f64,
    /// The length of the run in seconds.
    pub of: f64,
    /// The share of pairs that reached each other by key in the last sample. Absent if no pair was
    /// tried.
    pub reach: Option<f64>,
}

/// Runs a scenario. Calls `progress` after every sample.
///
/// # Errors
/// A mistake in the scenario that could not be found before the run.
pub fn run(scenario: &Scenario, mut progress: impl FnMut(Progress)) -> Result<Report, Error> {
    let mut run = Run::new(scenario)?;
    while let Some((at, step)) = run.world.steps.pop(scenario.duration) {
        run.world.network.run_until(at);
        let is_sample = step == Step::Sample;
        run.perform(step)?;
        if let (true, Some(last)) = (is_sample, run.report.samples.last()) {
            progress(Progress {
                at: last.at,
                of: seconds(scenario.duration),
                reach: last.snek.share,
            });
        }
    }
    run.world.network.run_until(scenario.duration);
    Ok(run.finish())
}

/// A run under way.
struct Run<'a> {
    world: World<'a>,
    measurer: Measurer,
    report: Report,
    /// The numbers of each round's pings.
    rounds: Vec<Range<usize>>,
    event_names: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario) -> Result<Self, Error> {
        let layout = scenario.lay_out()?;
        let mut report = Report::new(scenario, layout.nodes as usize, layout.links.len());
        report.events.push(Mark::new("start".into(), 0));
        let mut world = World::new(scenario, layout);
        for (number, adversary) in scenario.adversary.iter().enumerate() {
            world.steps.push(adversary.at, Step::Adversary(number));
        }
        for (number, event) in scenario.event.iter().enumerate() {
            world.steps.push(event.at, Step::Event(number));
        }
        if let Some(pings) = &scenario.pings {
            world.steps.push(pings.from, Step::Pings);
        }
        world.steps.push(scenario.measure.every, Step::Sample);
        Ok(Self {
            world,
            measurer: Measurer::new(scenario.seed, scenario.measure.pairs),
            report,
            rounds: Vec::new(),
            event_names: scenario.event_names(),
        })
    }

    fn perform(&mut self, step: Step) -> Result<(), Error> {
        let world = &mut self.world;
        match step {
            Step::Sample => {
                let sample = self.measurer.sample(&mut world.network);
                self.report.samples.push(sample);
                let next = world.now() + world.scenario.measure.every;
                world.steps.push(next, Step::Sample);
            }
            Step::Pings => {
                let round = ping_rounds::send(world, &mut self.measurer);
                self.rounds.extend(round);
            }
            Step::Adversary(number) => adversaries::begin(world, number)?,
            Step::Event(number) => {
                let name = self.event_names.get(number).cloned().unwrap_or_default();
                self.report.events.push(Mark::new(name, world.now()));
                events::begin(world, number)?;
            }
            other => events::resume(world, other),
        }
        Ok(())
    }

    fn finish(mut self) -> Report {
        let (scenario, network) = (self.world.scenario, &mut self.world.network);
        self.report.finish(scenario, network, &self.rounds);
        self.report
    }
}
