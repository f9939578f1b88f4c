//! Reports: the samples, measures and expectations of a run, as JSON and as a table.

mod measures;
mod summary;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::expect::Expectation;
use crate::measure::{Sample, Spread};
use crate::scenario::Scenario;
use crate::time::{Nanos, seconds};

/// The results of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// A sentence that describes the scenario.
    pub about: String,
    /// The seed.
    pub seed: u64,
    /// `real`, or `stand-in` if nothing was signed and all frames were believed.
    pub signatures: &'static str,
    /// The number of nodes at the start.
    pub nodes: usize,
    /// The number of links at the start.
    pub links: usize,
    /// Samples in the order of time.
    pub samples: Vec<Sample>,
    /// Events, and the time that the network took to converge after each.
    pub events: Vec<Mark>,
    /// Results of pings, if the scenario has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pings: Option<Pings>,
    /// Measures at the end of the run, by name.
    pub measures: BTreeMap<String, f64>,
    /// Expectations and their outcomes.
    pub expectations: Vec<Expectation>,
}

/// An event of the run.
#[derive(Clone, Debug, Serialize)]
pub struct Mark {
    /// Its name, with a number if there are several of its kind.
    pub name: String,
    /// Its time in seconds.
    pub at: f64,
    /// Seconds after which the network was converged and stayed so until the next event. Absent if
    /// it did not converge.
    pub converged_after: Option<f64>,
}

/// Results of pings.
#[derive(Clone, Debug, Serialize)]
pub struct Pings {
    /// The number of pings sent.
    pub sent: usize,
    /// The share that arrived. Absent if none was sent.
    pub arrived: Option<f64>,
    /// The share that was answered. Absent if none was sent.
    pub answered: Option<f64>,
    /// The shares that arrived, by round.
    pub rounds: Spread,
    /// The share that arrived in the worst round.
    pub worst_round: Option<f64>,
    /// Times from a ping to its answer, in milliseconds.
    pub round_trip_ms: Spread,
    /// Links that pings took.
    pub hops: Spread,
    /// Lost pings and answers, by reason.
    pub lost: BTreeMap<&'static str, u64>,
    /// Results of each round.
    pub by_round: Vec<Round>,
}

/// Results of a round of pings.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// The time at which it was sent, in seconds.
    pub at: f64,
    /// The number of pings sent.
    pub sent: usize,
    /// The share that arrived. Absent if none was sent.
    pub arrived: Option<f64>,
    /// The share that was answered. Absent if none was sent.
    pub answered: Option<f64>,
    /// Times from a ping to its answer, in milliseconds. Absent if none was answered.
    pub round_trip_ms: Option<Spread>,
}

impl Mark {
    pub(crate) fn new(name: String, at: Nanos) -> Self {
        Self {
            name,
            at: seconds(at),
            converged_after: None,
        }
    }
}

impl Report {
    pub(crate) fn new(scenario: &Scenario, nodes: usize, links: usize) -> Self {
        Self {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            seed: scenario.seed,
            signatures: match scenario.network.signatures {
                true => "real",
                false => "stand-in",
            },
            nodes,
            links,
            samples: Vec::new(),
            events: Vec::new(),
            pings: None,
            measures: BTreeMap::new(),
            expectations: Vec::new(),
        }
    }

    /// Reports whether all expectations hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.expectations
            .iter()
            .all(|expectation| expectation.holds)
    }

    /// Returns the report as JSON. The same run gives the same bytes.
    #[must_use]
    pub fn json(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.map_or_else(|error| error.to_string(), |text| text + "\n")
    }
}
