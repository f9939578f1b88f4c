//! A node under test.

use pinecone::PublicKey;

use super::process::{Process, Unknown};
use super::report::{NodeReport, ProcessReport};

/// A node under test.
pub(super) struct Node {
    pub(super) address: String,
    pub(super) key: PublicKey,
    pub(super) process: Result<Process, Unknown>,
}

impl Node {
    /// Reports what the node used while this many frames were received.
    pub(super) fn report(self, cpu_seconds: Option<f64>, seconds: f64, frames: u64) -> NodeReport {
        let hidden_because = match &self.process {
            Ok(_) => None,
            Err(Unknown::Remote) => Some("its process is not on this machine".to_owned()),
            Err(Unknown::Hidden) => {
                Some("its process cannot be inspected: run as the node's user".to_owned())
            }
        };
        NodeReport {
            address: self.address,
            key: self.key.to_string(),
            process: self.process.ok().zip(cpu_seconds).map(|(process, cpu)| {
                let us = || cpu * 1e6 / frames as f64;
                ProcessReport {
                    pid: process.id,
                    name: process.name,
                    cpu_seconds: cpu,
                    cores: cpu / seconds,
                    us_per_frame: (frames > 0).then(us),
                }
            }),
            hidden_because,
        }
    }
}
