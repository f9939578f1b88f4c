//! Checks of a scenario that do not depend on the layout of its network.

use super::adversary::MischiefSettings;
use super::event::Action;
use super::settings::{LAST_CALL, Scenario};
use crate::error::Error;
use crate::expect::{measures, similar};
use crate::time::{Nanos, seconds};
use crate::topology::MAX_METRES;

/// The largest number of samples in a run.
const MAX_SAMPLES: u64 = 1_000_000;
/// The largest number of pairs in a sample, and of pings in a run.
const MAX_TRIALS: u64 = 10_000_000;

impl Scenario {
    /// Refuses values out of bounds, events that would never happen, and expectations that no run
    /// could meet.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.check_settings()?;
        self.check_pings()?;
        for (number, event) in self.event.iter().enumerate() {
            let key = format!("event.{number}");
            self.before_end(&key, "event", event.at)?;
            self.check_action(&key, event.at, &event.action)?;
        }
        self.check_adversaries()?;
        self.check_expectations()
    }

    fn check_settings(&self) -> Result<(), Error> {
        if let Err((key, wrong)) = self.topology.check(self.network.copies) {
            return Err(self.source.error(&format!("topology.{key}"), wrong));
        }
        let (network, measure) = (&self.network, &self.measure);
        let samples = self.duration / measure.every.max(1);
        let loss = share_below_one("loss", self.link.loss);
        let checks = [
            (
                "network.copies",
                network.copies > 0,
                "write at least 1".into(),
            ),
            (
                "network.max-routes",
                network.max_routes > 0,
                "write at least 1".into(),
            ),
            (
                "network.max-routes-per-peer",
                network.max_routes_per_peer > 0,
                "write at least 1".into(),
            ),
            (
                "network.wakeup-hops",
                (1..=5).contains(&network.wakeup_hops),
                "write 1 to 5".into(),
            ),
            (
                "network.start-within",
                network.start_within < self.duration,
                "nodes would start after the end of the run: write less than `duration`".into(),
            ),
            ("link.loss", loss.is_ok(), loss.err().unwrap_or_default()),
            (
                "measure.every",
                samples > 0,
                "the run ends before the first sample: write at most `duration`".into(),
            ),
            (
                "measure.every",
                samples <= MAX_SAMPLES,
                format!("that makes {samples} samples: at most {MAX_SAMPLES}, write a longer time"),
            ),
            (
                "measure.pairs",
                measure.pairs > 0,
                "write at least 1".into(),
            ),
            (
                "measure.pairs",
                measure.pairs as u64 <= MAX_TRIALS,
                format!("write at most {MAX_TRIALS}"),
            ),
            (
                "measure.converged",
                measure.converged > 0.0 && measure.converged <= 1.0,
                "`converged` is a share of pairs: write a number above 0, at most 1".into(),
            ),
        ];
        for (key, holds, wrong) in checks {
            if !holds {
                return Err(self.source.error(key, wrong));
            }
        }
        Ok(())
    }

    fn check_pings(&self) -> Result<(), Error> {
        let Some(pings) = &self.pings else {
            return Ok(());
        };
        let wrong = |key: &str, wrong: String| Err(self.source.error(key, wrong));
        if pings.count == 0 || pings.min_distance == 0 {
            let key = match pings.count {
                0 => "pings.count",
                _ => "pings.min-distance",
            };
            return wrong(key, "write at least 1".into());
        }
        if pings.from + LAST_CALL > self.duration {
            let latest = seconds(self.duration.saturating_sub(LAST_CALL));
            let hint = format!(
                "answers take up to {} s, and the run ends before: write at most \"{latest}s\", or \
                 a longer `duration`",
                seconds(LAST_CALL)
            );
            return wrong("pings.from", hint);
        }
        let rounds = (self.duration - pings.from) / pings.every.max(1) + 1;
        if rounds.saturating_mul(pings.count as u64) > MAX_TRIALS {
            return wrong(
                "pings.count",
                format!(
                    "that makes {rounds} rounds: write a count with which it is at most {MAX_TRIALS} pings"
                ),
            );
        }
        Ok(())
    }

    fn before_end(&self, key: &str, what: &str, at: Nanos) -> Result<(), Error> {
        match at < self.duration {
            true => Ok(()),
            false => Err(self.source.error(
                &format!("{key}.at"),
                format!(
                    "this {what} is at {} s, and the run ends at {} s: write an earlier `at`, or a \
                     longer `duration`",
                    seconds(at),
                    seconds(self.duration)
                ),
            )),
        }
    }

    fn check_action(&self, key: &str, at: Nanos, action: &Action) -> Result<(), Error> {
        let wrong =
            |name: &str, wrong: String| Err(self.source.error(&format!("{key}.{name}"), wrong));
        let zero = |name: &str| wrong(name, "write at least 1".into());
        match action {
            Action::AddNodes { count: 0, .. } | Action::RemoveNodes { count: 0, .. } => {
                zero("count")
            }
            Action::CutLinks { count: 0, .. } => zero("count"),
            Action::AddNodes { links: 0, .. } | Action::Join { links: 0 } => zero("links"),
            Action::FlapRoot { times: 0, .. } => zero("times"),
            Action::Move { rounds: 0, .. } => zero("rounds"),
            Action::Link { a, b } | Action::Cut { a, b, .. } | Action::Heal { a, b }
                if a == b && !a.is_random() =>
            {
                wrong(
                    "b",
                    "a node has no link to itself: write another node".into(),
                )
            }
            Action::CutLinks {
                heal_after: Some(after),
                ..
            } if at + after >= self.duration => wrong(
                "heal-after",
                "the links would heal after the end of the run: write a shorter time, or leave it \
                 out"
                .into(),
            ),
            Action::SetLinks {
                latency: None,
                bandwidth: None,
                loss: None,
            } => wrong(
                "do",
                "nothing is set: write one of `latency`, `bandwidth`, `loss`".into(),
            ),
            Action::SetLinks {
                loss: Some(loss), ..
            } => match share_below_one("loss", *loss) {
                Ok(()) => Ok(()),
                Err(hint) => wrong("loss", hint),
            },
            Action::Partition { share, .. } if !(*share > 0.0 && *share < 1.0) => wrong(
                "share",
                format!("`share` is {share}: write a number above 0 and below 1"),
            ),
            Action::Churn { rate, .. } if !(*rate > 0.0 && *rate <= 10.0) => wrong(
                "rate",
                format!(
                    "`rate` is {rate}, the share of nodes a minute: write a number above 0, at most 10"
                ),
            ),
            Action::Move { range, step, .. } => {
                for (name, metres) in [("range", *range), ("step", *step)] {
                    if !(1..=MAX_METRES).contains(&metres) {
                        return wrong(name, format!("write 1 to {MAX_METRES} m"));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_adversaries(&self) -> Result<(), Error> {
        for (number, adversary) in self.adversary.iter().enumerate() {
            let key = format!("adversary.{number}");
            let wrong =
                |name: &str, wrong: &str| Err(self.source.error(&format!("{key}.{name}"), wrong));
            self.before_end(&key, "adversary", adversary.at)?;
            let earlier = self.adversary.iter().take(number);
            let mut same =
                earlier.filter(|other| (&other.node, other.at) == (&adversary.node, adversary.at));
            if same.next().is_some() && !adversary.node.is_random() {
                return wrong(
                    "node",
                    "this node already is an adversary from then on: write another node or `at`",
                );
            }
            match &adversary.mischief {
                MischiefSettings::Drop { frames, .. } if frames.is_empty() => {
                    return wrong("frames", "nothing would be dropped: write [\"traffic\"]");
                }
                MischiefSettings::Drop { rate, .. } if !(*rate > 0.0 && *rate <= 1.0) => {
                    return wrong(
                        "rate",
                        "`rate` is a share: write a number above 0, at most 1",
                    );
                }
                MischiefSettings::Drop {
                    peer: Some(peer), ..
                } if *peer == adversary.node && !peer.is_random() => {
                    return wrong("peer", "a node is not its own peer: write another node");
                }
                MischiefSettings::Flood { count: 0, .. } => {
                    return wrong("count", "write at least 1");
                }
                MischiefSettings::Replay { times: 0, .. } => {
                    return wrong("times", "write at least 1");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_expectations(&self) -> Result<(), Error> {
        let events = self.event_names();
        let known = measures(&events);
        for (name, comparison) in &self.expect {
            let wrong = |wrong: String| {
                let key = format!("expect.{name}");
                Err(self.source.error(&key, format!("`{name}`: {wrong}")))
            };
            if !known.contains(name) {
                return wrong(match similar(name, &known) {
                    Some(other) => format!("there is no such measure: write `{other}`"),
                    None => "there is no such measure: docs/simulation.md lists them".into(),
                });
            }
            if !comparison.suits(name) {
                return wrong(
                    "a share is from 0 to 1, so no run could meet this, or every run would".into(),
                );
            }
            if name.starts_with("pings.") && self.pings.is_none() {
                return wrong("there are no pings: write `pings = { … }`".into());
            }
            let last = self.duration / self.measure.every * self.measure.every;
            let adversaries = self.adversary.iter();
            if (name.starts_with("honest.") || name.starts_with("adversary."))
                && !adversaries.clone().any(|adversary| adversary.at <= last)
            {
                return wrong(
                    "there is no adversary before the last sample: write `[[adversary]]`".into(),
                );
            }
            if let Some(event) = name.strip_prefix("converge.")
                && let Err(unseen) = self.check_sampled(event, &events)
            {
                return wrong(unseen);
            }
        }
        Ok(())
    }

    /// Checks that a sample is taken between an event and the next one. Otherwise the time to
    /// converge could not be measured. `max` stands for all events.
    fn check_sampled(&self, event: &str, names: &[String]) -> Result<(), String> {
        let events = self.event.iter().map(|event| event.at);
        let named = names.iter().map(String::as_str).zip(events.clone());
        for (name, at) in std::iter::once(("start", 0)).chain(named) {
            if event != "max" && event != name {
                continue;
            }
            let next = events.clone().filter(|&next| next > at).min();
            let sample = (at / self.measure.every + 1) * self.measure.every;
            if sample > self.duration || next.is_some_and(|next| sample >= next) {
                return Err(format!(
                    "no sample is taken between `{name}` at {} s and {}: write a shorter \
                     `measure.every`, or other times",
                    seconds(at),
                    match next {
                        Some(next) => format!("the next event at {} s", seconds(next)),
                        None => "the end".into(),
                    }
                ));
            }
        }
        Ok(())
    }
}

fn share_below_one(name: &str, share: f64) -> Result<(), String> {
    match (0.0..1.0).contains(&share) {
        true => Ok(()),
        false => Err(format!(
            "`{name}` is {share}, a share of packets: write a number from 0 up to, but not \
             including, 1"
        )),
    }
}
