//! `pinecone ping`.

use std::fmt::Write as _;

use pinecone::PublicKey;

use crate::admin::client::Client;
use crate::admin::protocol::{PingInfo, PingOutcome, PingRequest, Reply, Request};
use crate::cli::PingOptions;
use crate::failure::Failure;
use crate::momentary::{self, Role};
use crate::output::print;
use crate::pings::{Pings, Series};
use crate::signals::Signals;

/// Pings until the count is reached or a signal comes. False if nothing answered.
pub(crate) async fn ping(options: PingOptions) -> Result<bool, Failure> {
    options.log.start("warn")?;
    let mut signals = Signals::new()?;
    let mut tally = Tally::default();
    print(&format!(
        "PING {}: {} bytes of filler\n",
        options.key, options.size
    ))?;
    if options.connect.is_empty() {
        let mut client = signals.unless(Client::connect(&options.admin)).await?;
        let pings = from_running_node(&options, &mut client, &mut tally);
        tokio::select! {
            done = pings => done?,
            _ = signals.next() => {}
        }
    } else {
        let join = momentary::join(&options.connect, None, Role::Asks);
        let node = signals.unless(join).await?;
        let mut pings = Pings::start(
            node.clone(),
            Series {
                key: options.key,
                count: options.count,
                size: options.size,
                interval: options.interval,
                timeout: options.timeout,
            },
        );
        loop {
            let info = tokio::select! {
                info = pings.next() => info,
                _ = signals.next() => None,
            };
            let Some(info) = info else { break };
            print(&tally.add(&options.key, &info))?;
        }
        drop(pings);
        node.close().await;
    }
    print(&tally.summary(&options.key))?;
    Ok(tally.answered > 0)
}

async fn from_running_node(
    options: &PingOptions,
    client: &mut Client,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let request = Request::Ping(PingRequest {
        key: options.key.to_string(),
        count: options.count,
        size: options.size,
        interval_ms: options.interval.as_millis() as u64,
        timeout_ms: options.timeout.as_millis() as u64,
    });
    client.send(&request).await?;
    loop {
        match client.receive().await? {
            Reply::Ping(info) => print(&tally.add(&options.key, &info))?,
            Reply::Done {} => return Ok(()),
            _ => return Err(client.strange("another kind of reply")),
        }
    }
}

/// What came of the pings so far.
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
    /// Counts one, and says it in a line.
    fn add(&mut self, key: &PublicKey, info: &PingInfo) -> String {
        self.sent += 1;
        let seq = info.seq;
        match &info.outcome {
            PingOutcome::Answer { hops, rtt_ms } => {
                let ms = *rtt_ms;
                self.min = if self.answered == 0 {
                    ms
                } else {
                    self.min.min(ms)
                };
                self.max = self.max.max(ms);
                self.sum += ms;
                self.sum_of_squares += ms * ms;
                self.answered += 1;
                let bytes = info.bytes;
                format!("{bytes} bytes from {key}: seq={seq} hops={hops} time={ms:.3} ms\n")
            }
            PingOutcome::Failed { error } => format!("from {key}: seq={seq} {error}\n"),
        }
    }

    fn summary(&self, key: &PublicKey) -> String {
        let lost = self.sent - self.answered;
        let loss = 100.0 * lost as f64 / self.sent.max(1) as f64;
        let mut text = format!(
            "\n--- {key} ping statistics ---\n{} pings sent, {} answered, {loss:.0}% loss\n",
            self.sent, self.answered
        );
        if self.answered > 0 {
            let n = self.answered as f64;
            let mean = self.sum / n;
            let deviation = (self.sum_of_squares / n - mean * mean).max(0.0).sqrt();
            let _ = writeln!(
                text,
                "rtt min/avg/max/mdev = {:.3}/{mean:.3}/{:.3}/{deviation:.3} ms",
                self.min, self.max
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
        let key = PublicKey([0xab; 32]);
        let mut tally = Tally::default();
        let mut add = |seq, outcome| {
            let info = PingInfo {
                seq,
                bytes: 131,
                outcome,
            };
            tally.add(&key, &info)
        };
        let answer = |rtt_ms| PingOutcome::Answer { hops: 2, rtt_ms };
        assert_eq!(
            add(1, answer(1.0)),
            format!("131 bytes from {key}: seq=1 hops=2 time=1.000 ms\n")
        );
        add(2, answer(3.0));
        let error = "no answer in time".to_owned();
        assert_eq!(
            add(3, PingOutcome::Failed { error }),
            format!("from {key}: seq=3 no answer in time\n")
        );
        let summary = tally.summary(&key);
        assert!(
            summary.contains("3 pings sent, 2 answered, 33% loss\n"),
            "{summary}"
        );
        assert!(
            summary.ends_with("rtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms\n"),
            "{summary}"
        );
        let none = Tally::default().summary(&key);
        assert!(
            none.ends_with("0 pings sent, 0 answered, 0% loss\n"),
            "{none}"
        );
    }
}
