//! The scenarios, with one function for each section of the results.

mod comparison;
mod latency;
mod row;
mod sizes;
mod sparse;
mod steady;
mod sweeps;
mod workers;

use anyhow::Result;

use crate::options::{Scenario, Settings};
use crate::report::Section;

impl Scenario {
    /// Runs the scenario.
    pub fn run(self, settings: &Settings) -> Result<Section> {
        match self {
            Self::Verify => sizes::verify(settings),
            Self::Table => sizes::random(settings),
            Self::Runs => sizes::runs(settings),
            Self::Routes => sizes::routes(settings),
            Self::Splice => sizes::splice(settings),
            Self::Flows => sweeps::flows(settings),
            Self::Peers => sweeps::peers(settings),
            Self::Workers => workers::workers(settings),
            Self::Sparse => sparse::sparse(settings),
            Self::Latency => latency::latency(settings),
            Self::Steady => steady::steady(settings),
            Self::All => unreachable!("it stands for the others"),
        }
    }
}
