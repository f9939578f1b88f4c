//! The table for people.

use std::fmt::Write as _;

use super::Report;

const HEAD: &str = "\
   time  nodes  links roots |  by key: reach stretch  p99  hops | by tree: reach stretch  p99  hops \
| bytes/s frames/s | reparent | routes   max | lost";

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut out, report);
    out
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
            "{:7.1} {:6} {:6} {:5} |",
            sample.at, sample.alive, sample.links, sample.roots
        )?;
        for reach in [&sample.snek, &sample.tree] {
            write!(
                out,
                "       {:7.3}% {:7.2} {:4.1} {:5.1} |",
                reach.share * 100.0,
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
        writeln!(
            out,
            "pings: {} sent, {:.3}% arrived, {:.3}% answered; by round: median {:.3}%, mean {:.3}%, \
             worst {:.3}%; round trip p50 {:.1} ms, p99 {:.1} ms; lost:{}",
            pings.sent,
            pings.arrived * 100.0,
            pings.answered * 100.0,
            pings.rounds.p50 * 100.0,
            pings.rounds.mean * 100.0,
            pings.worst_round * 100.0,
            pings.round_trip_ms.p50,
            pings.round_trip_ms.p99,
            list(&pings.lost)
        )?;
    }
    if let Some(honest) = report.samples.last().and_then(|s| s.honest.as_ref()) {
        writeln!(
            out,
            "honest pairs: {:.3}% by key, {:.3}% by tree; {:.3}% met an adversary; of the others \
             {:.3}% by key, {:.3}% by tree",
            honest.snek * 100.0,
            honest.tree * 100.0,
            honest.met * 100.0,
            honest.snek_clear * 100.0,
            honest.tree_clear * 100.0
        )?;
    }
    for expectation in &report.expectations {
        let found = match expectation.found {
            Some(found) => format!("{found:.4}"),
            None => "nothing".into(),
        };
        let verdict = match expectation.holds {
            true => "holds",
            false => "FAILS",
        };
        writeln!(
            out,
            "{verdict}: {} {} (found {found})",
            expectation.name, expectation.wanted
        )?;
    }
    Ok(())
}

fn list(lost: &std::collections::BTreeMap<&'static str, u64>) -> String {
    lost.iter()
        .map(|(name, n)| format!(" {name} {n}"))
        .collect()
}
