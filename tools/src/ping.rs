//! `pinecone ping`.

use std::fmt::Write as _;
use std::time::Duration;

use pinecone::PublicKey;
use serde::Serialize;

use crate::admin::client::{ANSWER_LIMIT, Client};
use crate::admin::protocol::{PingInfo, PingOutcome, PingRequest, Reply, Request};
use crate::cli::PingOptions;
use crate::failure::Failure;
use crate::momentary::{self, JOIN_LIMIT, Role};
use crate::output::{counted, print};
use crate::ping_series::{Pings, Series, Step};
use crate::signals::Signals;

/// Default time to wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The least time that the running node gets for a reply, as it may be busy.
const MIN_REPLY_LIMIT: Duration = Duration::from_secs(1);

/// Pings until the count is reached or a signal arrives. Returns whether any ping was answered.
pub(crate) async fn ping(options: PingOptions) -> Result<bool, Failure> {
    options.log.start("warn")?;
    let mut signals = Signals::new()?;
    let mut output = Output {
        key: options.key,
        json: options.json,
        tally: Tally::default(),
    };
    if options.connect.is_empty() {
        let mut client = signals.unless(Client::connect(&options.admin)).await?;
        output.begin(options.size)?;
        let pings = from_running_node(&options, &mut client, &mut output);
        tokio::select! {
            // Replies that have already arrived are counted before a signal ends the series.
            biased;
            done = pings => done?,
            _ = signals.next() => {}
        }
    } else {
        let limit = options.timeout.unwrap_or(JOIN_LIMIT);
        let join = momentary::join(&options.connect, None, Role::Asks, limit);
        let node = signals.unless(join).await?.node;
        output.begin(options.size)?;
        let mut pings = Pings::start(
            node.clone(),
            Series {
                key: options.key,
                count: options.count,
                size: options.size,
                interval: options.interval,
                timeout: options.timeout.unwrap_or(TIMEOUT),
            },
        );
        loop {
            let step = tokio::select! {
                biased;
                step = pings.next() => step,
                _ = signals.next() => None,
            };
            match step {
                Some(Step::Sent { .. }) => output.tally.sent += 1,
                Some(Step::Over(info)) => output.over(info)?,
                None => break,
            }
        }
        drop(pings);
        node.close().await;
    }
    output.end()?;
    Ok(output.tally.answered > 0)
}

async fn from_running_node(
    options: &PingOptions,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let timeout = options.timeout.unwrap_or(TIMEOUT);
    let request = Request::Ping(PingRequest {
        key: options.key.to_string(),
        count: options.count,
        size: options.size,
        interval_ms: options.interval.as_millis() as u64,
        timeout_ms: timeout.as_millis() as u64,
        report_sent: true,
    });
    client.send(&request).await?;
    let first = timeout.clamp(MIN_REPLY_LIMIT, ANSWER_LIMIT);
    let mut limit = first;
    loop {
        let reply = client.receive(limit).await?;
        // From here on, the node replies when it sends a ping and when one is answered or timed out.
        limit = options.interval.max(timeout) + first;
        match reply {
            Reply::Sent { .. } => output.tally.sent += 1,
            Reply::Ping(info) => output.over(info)?,
            Reply::Done {} => return Ok(()),
            _ => return Err(client.unexpected(&"another kind of reply")),
        }
    }
}

/// Prints a series, as text or as JSON with one object on a line.
#[derive(Debug)]
struct Output {
    key: PublicKey,
    json: bool,
    tally: Tally,
}

impl Output {
    fn begin(&self, size: u32) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        let filler = counted(size.into(), "byte");
        print(&format!("PING {}: {filler} of filler\n", self.key))
    }

    fn over(&mut self, info: PingInfo) -> Result<(), Failure> {
        self.tally.add(&info.outcome);
        if self.json {
            return print_json(&Reply::Ping(info));
        }
        let (key, seq) = (&self.key, info.seq);
        print(&match info.outcome {
            PingOutcome::Answer { hops, rtt_ms } => {
                let bytes = counted(info.bytes as u64, "byte");
                format!("{bytes} from {key}: seq={seq} hops={hops} time={rtt_ms:.3} ms\n")
            }
            PingOutcome::Failed { error } => format!("from {key}: seq={seq} {error}\n"),
        })
    }

    fn end(&self) -> Result<(), Failure> {
        let summary = self.tally.summary();
        if self.json {
            return print_json(&summary);
        }
        print(&format!(
            "\n--- {} ping statistics ---\n{}",
            self.key,
            summary.text()
        ))
    }
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&(serde_json::to_string(value).map_err(Failure::runtime)? + "\n"))
}

/// Counts and round-trip times of the pings so far.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    answered: u64,
    min: f64,
    max: f64,
    sum: f64,
    sum_of_squares: f64,
}

impl Tally {
    fn add(&mut self, outcome: &PingOutcome) {
        let PingOutcome::Answer { rtt_ms: ms, .. } = *outcome else {
            return;
        };
        self.min = match self.answered {
            0 => ms,
            _ => self.min.min(ms),
        };
        self.max = self.max.max(ms);
        self.sum += ms;
        self.sum_of_squares += ms * ms;
        self.answered += 1;
    }

    fn summary(&self) -> Summary {
        let lost = self.sent.saturating_sub(self.answered);
        let n = self.answered as f64;
        let avg = self.sum / n;
        Summary {
            reply: "done",
            sent: self.sent,
            answered: self.answered,
            loss_percent: 100.0 * lost as f64 / self.sent.max(1) as f64,
            rtt_ms: (self.answered > 0).then(|| RoundTrips {
                min: self.min,
                avg,
                max: self.max,
                mdev: (self.sum_of_squares / n - avg * avg).max(0.0).sqrt(),
            }),
        }
    }
}

/// The summary of a series.
#[derive(Debug, Serialize)]
struct Summary {
    reply: &'static str,
    sent: u64,
    answered: u64,
    /// Share of the pings that were not answered before the series ended.
    loss_percent: f64,
    /// Null if nothing was answered.
    rtt_ms: Option<RoundTrips>,
}

/// Round-trip times in milliseconds.
#[derive(Debug, Serialize)]
struct RoundTrips {
    min: f64,
    avg: f64,
    max: f64,
    /// Standard deviation.
    mdev: f64,
}

impl Summary {
    fn text(&self) -> String {
        let sent = counted(self.sent, "ping");
        let mut text = format!(
            "{sent} sent, {} answered, {:.0}% loss\n",
            self.answered, self.loss_percent
        );
        if let Some(rtt) = &self.rtt_ms {
            let _ = writeln!(
                text,
                "rtt min/avg/max/mdev = {:.3}/{:.3}/{:.3}/{:.3} ms",
                rtt.min, rtt.avg, rtt.max, rtt.mdev
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_and_summed_up() {
        let mut tally = Tally::default();
        let answer = |rtt_ms| PingOutcome::Answer { hops: 2, rtt_ms };
        let error = "no answer in time".to_owned();
        for outcome in [answer(1.0), answer(3.0), PingOutcome::Failed { error }] {
            tally.sent += 1;
            tally.add(&outcome);
        }
        assert_eq!(
            tally.summary().text(),
            "3 pings sent, 2 answered, 33% loss\n\
             rtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms\n"
        );
        assert_eq!(
            Tally::default().summary().text(),
            "0 pings sent, 0 answered, 0% loss\n"
        );
    }

    #[test]
    fn an_unanswered_ping_counts_as_sent() {
        let tally = Tally {
            sent: 1,
            ..Tally::default()
        };
        let summary = tally.summary();
        assert_eq!(summary.text(), "1 ping sent, 0 answered, 100% loss\n");
        assert_eq!(
            serde_json::to_string(&summary).unwrap(),
            r#"{"reply":"done","sent":1,"answered":0,"loss_percent":100.0,"rtt_ms":null}"#
        );
    }
}
