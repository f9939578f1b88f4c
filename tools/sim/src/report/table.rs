//! The table of a report, for people.

use std::fmt::Write as _;

use super::Report;

const HEAD: &str = "\
   time  nodes  links roots  apart |  by key: reach stretch  p99  hops | by tree: reach stretch  p99  hops \
| bytes/s frames/s | reparent | routes   max | lost";

impl Report {
    /// Returns the report as a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = write(&mut out, self);
        out
    }
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "{}: {}", report.scenario, report.about)?;
    writeln!(
        out,
        "{} nodes, {} links, seed {}, signatures: {}\n",
        report.nodes, report.links, report.seed, report.signatures
    )?;
    writeln!(out, "{HEAD}")?;
    let mut marks = report.events.iter().peekable();
    for sample in &report.samples {
        while let Some(mark) = marks.next_if(|mark| mark.at <= sample.at) {
            writeln!(out, "{:7.1}  -- {}", mark.at, mark.name)?;
        }
        write!(
            out,
            "{:7.1} {:6} {:6} {:5} {:>5}% |",
            sample.at,
            sample.alive,
            sample.links,
            sample.roots,
            percent(sample.apart(), 1)
        )?;
        for reach in [&sample.snek, &sample.tree] {
            write!(
                out,
                "       {:>7}% {:7.2} {:4.1} {:5.1} |",
                percent(reach.share, 3),
                reach.stretch.mean,
                reach.stretch.p99,
                reach.hops.mean
            )?;
        }
        writeln!(
            out,
            " {:7.0} {:8.1} | {:8} | {:6.1} {:5.0} |{}",
            sample.protocol.bytes,
            sample.protocol.frames,
            sample.reparentings,
            sample.routes.mean,
            sample.routes.max,
            list(&sample.lost)
        )?;
    }
    writeln!(out)?;
    for mark in &report.events {
        match mark.converged_after {
            Some(after) => writeln!(out, "{}: converged after {after:.1} s", mark.name)?,
            None => writeln!(out, "{}: not converged", mark.name)?,
        }
    }
    if let Some(pings) = &report.pings {
        let sent = |share| pings.arrived.map(|_| share);
        writeln!(
            out,
            "pings: {} sent, {}% arrived, {}% answered; by round: median {}%, mean {}%, \
             worst {}%; round trip p50 {:.1} ms, p99 {:.1} ms; lost:{}",
            pings.sent,
            percent(pings.arrived, 3),
            percent(pings.answered, 3),
            percent(sent(pings.rounds.p50), 3),
            percent(sent(pings.rounds.mean), 3),
            percent(pings.worst_round, 3),
            pings.round_trip_ms.p50,
            pings.round_trip_ms.p99,
            list(&pings.lost)
        )?;
    }
    if let Some(honest) = report.samples.last().and_then(|s| s.honest.as_ref()) {
        writeln!(
            out,
            "honest pairs: {}% by key, {}% by tree; {}% met an adversary; of the others \
             {}% by key, {}% by tree",
            percent(honest.snek, 3),
            percent(honest.tree, 3),
            percent(honest.met, 3),
            percent(honest.snek_clear, 3),
            percent(honest.tree_clear, 3)
        )?;
    }
    for expectation in &report.expectations {
        writeln!(out, "{expectation}")?;
    }
    Ok(())
}

/// Formats a share as a percentage, or a dash if it is absent.
fn percent(share: Option<f64>, digits: usize) -> String {
    match share {
        Some(share) => format!("{:.digits$}", share * 100.0),
        None => "-".into(),
    }
}

fn list(lost: &std::collections::BTreeMap<&'static str, u64>) -> String {
    lost.iter()
        .map(|(name, n)| format!(" {name} {n}"))
        .collect()
}
