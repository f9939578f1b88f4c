//! Expectations: comparisons of measures at the end of a run.

use serde::{Deserialize, Serialize};

use crate::loss::Loss;

/// A comparison with a number, such as `>= 0.98`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Comparison {
    text: String,
    relation: Relation,
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    AtLeast,
    AtMost,
    Above,
    Below,
    Equal,
}

/// An expectation and its outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expectation {
    /// The name of the measure.
    pub name: String,
    /// The comparison.
    pub wanted: String,
    /// The value of the measure. Absent if there is none, such as the time to converge of a network
    /// that did not.
    pub found: Option<f64>,
    /// Set if the value passes.
    pub holds: bool,
}

/// Measures with a fixed name that are shares, from 0 to 1.
const SHARES: &[&str] = &[
    "snek.reach",
    "snek.reach.mean",
    "snek.reach.least",
    "tree.reach",
    "tree.reach.mean",
    "tree.reach.least",
    "apart",
    "honest.snek",
    "honest.tree",
    "honest.met",
    "honest.snek.clear",
    "honest.tree.clear",
    "honest.snek.clear.least",
    "honest.tree.clear.least",
    "pings.arrived",
    "pings.answered",
    "pings.round.median",
    "pings.round.mean",
    "pings.round.worst",
];

/// The other measures with a fixed name.
const NUMBERS: &[&str] = &[
    "snek.stretch.mean",
    "snek.stretch.p50",
    "snek.stretch.p99",
    "snek.hops.mean",
    "snek.hops.p99",
    "tree.stretch.mean",
    "tree.stretch.p50",
    "tree.stretch.p99",
    "tree.hops.mean",
    "tree.hops.p99",
    "roots",
    "alive",
    "protocol.bytes",
    "protocol.frames",
    "routes.mean",
    "routes.p99",
    "routes.max",
    "reparentings",
    "revisits",
    "rescued.expired_route",
    "rescued.detour",
    "root_changes",
    "peerings",
    "peerings.refused",
    "peerings.timed_out",
    "adversary.dropped",
    "adversary.sent",
    "pings.sent",
    "pings.round_trip_ms.p50",
    "pings.round_trip_ms.p99",
    "converge.start",
    "converge.max",
];

/// Returns the names of all measures that a run with these events can have.
#[must_use]
pub fn measures(events: &[String]) -> Vec<String> {
    let fixed = SHARES.iter().chain(NUMBERS).map(|&name| name.into());
    let lost = Loss::ALL.iter().map(|loss| format!("lost.{}", loss.name()));
    let converge = events.iter().map(|name| format!("converge.{name}"));
    fixed.chain(lost).chain(converge).collect()
}

/// Returns the name that is most similar to `name`, if one is similar at all.
#[must_use]
pub fn similar<'a>(name: &str, names: &'a [String]) -> Option<&'a str> {
    let likeness = |other: &&String| (strsim::jaro_winkler(name, other) * 1e6) as u32;
    let best = names.iter().max_by_key(likeness)?;
    (likeness(&best) >= 850_000).then_some(best)
}

impl Comparison {
    /// Compares the value of a measure.
    #[must_use]
    pub fn check(&self, name: &str, found: Option<f64>) -> Expectation {
        let limit = self.limit;
        let passes = |found: f64| match self.relation {
            Relation::AtLeast => found >= limit,
            Relation::AtMost => found <= limit,
            Relation::Above => found > limit,
            Relation::Below => found < limit,
            Relation::Equal => found == limit,
        };
        Expectation {
            name: name.into(),
            wanted: self.text.clone(),
            found,
            holds: found.is_some_and(passes),
        }
    }

    /// Reports whether the comparison can both pass and fail, as a share is from 0 to 1.
    #[must_use]
    pub fn suits(&self, name: &str) -> bool {
        let limit = self.limit;
        let possible = match self.relation {
            Relation::Above => (0.0..1.0).contains(&limit),
            Relation::Below => limit > 0.0 && limit <= 1.0,
            Relation::AtLeast | Relation::AtMost | Relation::Equal => (0.0..=1.0).contains(&limit),
        };
        possible || !SHARES.contains(&name)
    }
}

impl TryFrom<String> for Comparison {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a comparison: write one like \">= 0.98\"");
        let (comparison, number) = text.trim().split_once(' ').ok_or_else(wrong)?;
        let limit: f64 = number.trim().parse().map_err(|_| wrong())?;
        if !limit.is_finite() {
            return Err(wrong());
        }
        let relation = match comparison {
            ">=" => Relation::AtLeast,
            "<=" => Relation::AtMost,
            ">" => Relation::Above,
            "<" => Relation::Below,
            "==" => Relation::Equal,
            _ => return Err(wrong()),
        };
        Ok(Self {
            text,
            relation,
            limit,
        })
    }
}

impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = match self.holds {
            true => "holds",
            false => "FAILS",
        };
        write!(f, "{verdict}: {} {} (found ", self.name, self.wanted)?;
        match self.found {
            Some(found) => write!(f, "{found:.4})"),
            None => write!(f, "nothing)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons() {
        let holds = |wanted: &str, found| {
            Comparison::try_from(wanted.to_owned())
                .map(|comparison| comparison.check("x", found).holds)
        };
        assert!(holds(">= 0.98", Some(0.98)).unwrap());
        assert!(!holds("> 0.98", Some(0.98)).unwrap());
        assert!(holds("<= 3", Some(-1.0)).unwrap());
        assert!(!holds("< 3", Some(3.0)).unwrap());
        assert!(holds("== 1", Some(1.0)).unwrap());
        assert!(!holds("<= 3", None).unwrap());
        for wrong in ["", "1", ">=1", "=> 1", ">= x", "< nan", "< inf"] {
            assert!(holds(wrong, Some(1.0)).is_err(), "{wrong}");
        }
    }
}
