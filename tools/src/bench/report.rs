//! The report of a run, as text and JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::options::Check;

/// The report of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The addresses, that of the senders first.
    pub(crate) through: Vec<String>,
    /// Bytes of payload in each frame.
    pub(crate) size: u32,
    /// Bytes of each frame as sent.
    pub(crate) frame_bytes: usize,
    pub(crate) flows: u32,
    pub(crate) pairs: u32,
    /// Requested frames per second, or `None` for as many as possible.
    pub(crate) rate: Option<f64>,
    /// Time for which frames were sent, in seconds.
    pub(crate) seconds: f64,
    /// Time until every flow had a route, in seconds.
    pub(crate) route_seconds: f64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    /// Share of the sent frames that were lost.
    pub(crate) loss: f64,
    pub(crate) reordered: u64,
    pub(crate) duplicates: u64,
    /// Frames that were damaged, of another run, or not for the sink that received them.
    pub(crate) strange: u64,
    /// The frames that the sinks checked.
    pub(super) check: Check,
    /// Frames that were received and not checked.
    pub(crate) skipped: u64,
    /// Frames that were due and not sent because this machine was late.
    pub(crate) left_out: u64,
    /// Frames sent per second.
    pub(crate) offered_frames_per_second: f64,
    /// Frames received per second, while frames were sent.
    pub(crate) frames_per_second: f64,
    /// Received Gbit/s of whole frames, while frames were sent.
    pub(crate) gbit_per_second: f64,
    /// `None` if no frame arrived.
    pub(crate) latency_us: Option<Latency>,
    pub(crate) nodes: Vec<NodeReport>,
    /// CPU time of this process in the same time.
    pub(crate) bench_cpu_seconds: Option<f64>,
}

/// Microseconds from the write of the sender to the read of the sink.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// A node under test.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeReport {
    pub(crate) address: String,
    pub(crate) key: String,
    /// `None` if the process is not on this machine or is hidden; `hidden_because` has the reason.
    pub(crate) process: Option<ProcessReport>,
    pub(crate) hidden_because: Option<String>,
}

/// CPU time of the process of a node while frames were sent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProcessReport {
    pub(crate) pid: u32,
    pub(crate) name: String,
    pub(crate) cpu_seconds: f64,
    /// Number of busy cores.
    pub(crate) cores: f64,
    /// CPU time per received frame, or `None` if none was received.
    pub(crate) us_per_frame: Option<f64>,
}

impl Report {
    /// Formats the summary.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "\n--- {} for {:.1} s ---\n",
            self.through.join(" to "),
            self.seconds
        );
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<12} {value}");
        };
        row(
            "throughput",
            format!(
                "{} frames/s, {:.3} Gbit/s ({} frames/s offered)",
                grouped(self.frames_per_second as u64),
                self.gbit_per_second,
                grouped(self.offered_frames_per_second as u64)
            ),
        );
        row(
            "frames",
            format!(
                "{} sent, {} received",
                grouped(self.sent),
                grouped(self.received)
            ),
        );
        if self.check == Check::Sampled {
            let share = 100.0 * self.skipped as f64 / self.received.max(1) as f64;
            row(
                "checked",
                format!("all but {share:.1} % of the received frames, which were only counted"),
            );
        }
        let why = match (self.rate, self.lost) {
            (None, 1..) => ": at --rate max, the node drops what it cannot forward",
            _ => "",
        };
        row(
            "lost",
            format!("{} ({:.3} %){why}", grouped(self.lost), 100.0 * self.loss),
        );
        row(
            "order",
            format!(
                "{} reordered within their flow, {} repeated, {} strange",
                grouped(self.reordered),
                grouped(self.duplicates),
                grouped(self.strange)
            ),
        );
        row("latency", self.latency_text());
        for node in &self.nodes {
            row("node CPU", node.text());
        }
        if let Some(cpu) = self.bench_cpu_seconds {
            row("bench CPU", format!("{:.2} cores", cpu / self.seconds));
        }
        if self.left_out > 0 {
            row(
                "late",
                format!(
                    "{} frames were due and not sent: this machine was too busy",
                    grouped(self.left_out)
                ),
            );
        }
        text
    }

    fn latency_text(&self) -> String {
        let Some(l) = self.latency_us else {
            return "no frame arrived".to_owned();
        };
        let queues = match self.rate {
            None => ", including the wait in full queues",
            Some(_) => "",
        };
        format!(
            "p50 {:.1}, p90 {:.1}, p99 {:.1}, p99.9 {:.1}, max {:.1} µs{queues}",
            l.p50, l.p90, l.p99, l.p999, l.max
        )
    }
}

impl NodeReport {
    fn text(&self) -> String {
        match &self.process {
            Some(p) => {
                let frame = p
                    .us_per_frame
                    .map_or_else(String::new, |us| format!(", {us:.3} µs per frame"));
                format!(
                    "{:.2} cores{frame} ({} {}, {})",
                    p.cores, p.name, p.pid, self.address
                )
            }
            None => format!(
                "unknown: {} ({})",
                self.hidden_because.as_deref().unwrap_or("it has ended"),
                self.address
            ),
        }
    }
}

/// Formats the line of one second: its frames and bits, and the frames lost so far.
pub(crate) fn second(
    at: Duration,
    frames_per_second: f64,
    frame_bytes: usize,
    missing: u64,
) -> String {
    format!(
        "{:>5.0} s  {:>13} frames/s  {:>8.3} Gbit/s  {} lost\n",
        at.as_secs_f64(),
        grouped(frames_per_second as u64),
        gbit(frames_per_second, frame_bytes),
        grouped(missing)
    )
}

pub(crate) fn gbit(frames_per_second: f64, frame_bytes: usize) -> f64 {
    frames_per_second * frame_bytes as f64 * 8e-9
}

/// Formats a number with a comma every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_explains_lost_frames() {
        let mut report = Report {
            through: vec!["a:1".into(), "b:2".into()],
            size: 1200,
            frame_bytes: 1313,
            flows: 64,
            pairs: 1,
            rate: None,
            seconds: 10.0,
            route_seconds: 0.5,
            sent: 1_000_000,
            received: 900_000,
            lost: 100_000,
            loss: 0.1,
            reordered: 0,
            duplicates: 0,
            strange: 0,
            check: Check::All,
            skipped: 0,
            left_out: 0,
            offered_frames_per_second: 100_000.0,
            frames_per_second: 90_000.0,
            gbit_per_second: gbit(90_000.0, 1313),
            latency_us: None,
            nodes: vec![NodeReport {
                address: "a:1".into(),
                key: "ab".into(),
                process: None,
                hidden_because: Some("it is on another machine".into()),
            }],
            bench_cpu_seconds: None,
        };
        let text = report.text();
        for part in [
            "--- a:1 to b:2 for 10.0 s ---",
            "90,000 frames/s, 0.945 Gbit/s (100,000 frames/s offered)",
            "100,000 (10.000 %): at --rate max, the node drops",
            "no frame arrived",
            "unknown: it is on another machine (a:1)",
        ] {
            assert!(text.contains(part), "{part:?} is missing: {text}");
        }
        report.rate = Some(1000.0);
        assert!(report.text().contains("100,000 (10.000 %)\n"));
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
