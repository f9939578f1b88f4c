//! A series of pings from a node, sent at an interval without waiting for answers.

use std::time::Duration;

use pinecone::{Node, PublicKey};
use pinecone_wire::ping;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::admin::protocol::{PingInfo, PingOutcome};

/// Number of pings that may wait for an answer. At the limit, sending pauses.
const MAX_WAITING: usize = 1024;

/// The parameters of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    pub(crate) key: PublicKey,
    /// Number of pings. `None` means no end.
    pub(crate) count: Option<u64>,
    /// Bytes of filler.
    pub(crate) size: u32,
    pub(crate) interval: Duration,
    /// Time to wait for each answer.
    pub(crate) timeout: Duration,
}

/// A step of a series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// A ping was sent.
    Sent {
        /// Its number in the series, from 1.
        seq: u64,
    },
    /// A ping was answered or has failed.
    Over(PingInfo),
}

/// A running series. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Pings {
    steps: mpsc::Receiver<Step>,
    _task: JoinSet<()>,
}

impl Pings {
    pub(crate) fn start(node: Node, series: Series) -> Self {
        let (sender, steps) = mpsc::channel(16);
        let mut task = JoinSet::new();
        task.spawn(run(node, series, sender));
        Self { steps, _task: task }
    }

    /// Waits for the next step. Returns `None` after the last one.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        self.steps.recv().await
    }
}

async fn run(node: Node, series: Series, steps: mpsc::Sender<Step>) {
    let mut ticks = tokio::time::interval(series.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut waiting = JoinSet::new();
    for seq in 1..=series.count.unwrap_or(u64::MAX) {
        ticks.tick().await;
        while waiting.len() >= MAX_WAITING {
            waiting.join_next().await;
        }
        while waiting.try_join_next().is_some() {}
        // Fails when the series has been dropped.
        let _ = steps.send(Step::Sent { seq }).await;
        let (node, steps) = (node.clone(), steps.clone());
        waiting.spawn(async move {
            let asked = node
                .ping(&series.key, series.size as usize, series.timeout)
                .await;
            let outcome = match asked {
                Ok(reply) => PingOutcome::Answer {
                    hops: reply.hops,
                    rtt_ms: reply.rtt.as_secs_f64() * 1000.0,
                },
                Err(error) => PingOutcome::Failed {
                    error: error.to_string(),
                },
            };
            let info = PingInfo {
                seq,
                bytes: ping::LEN + series.size as usize,
                outcome,
            };
            let _ = steps.send(Step::Over(info)).await;
        });
    }
    waiting.join_all().await;
}
