//! The receivers of the frames that a worker has routed.

use std::sync::Arc;

use super::shared::Shared;
use crate::PortId;
use crate::buffer::IterationMemory;
use crate::counters::DropReason;
use crate::egress::Egress;
use crate::handoff::Handoff;
use crate::ingress::{Burst, Output};
use crate::port_map::Owner;
use crate::report::{Budget, ProtocolFrame, Report};

/// Hands frames on to the worker's own ports, to other workers, and to the control plane.
pub(super) struct WorkerOutput<'a> {
    pub(super) me: usize,
    pub(super) shared: &'a Shared,
    pub(super) egress: &'a mut Egress,
    pub(super) handoff: &'a mut Handoff,
    pub(super) memory: &'a mut IterationMemory,
    /// The port that the frames come from, and its bound on frames that wait for the control plane.
    pub(super) source: Option<(PortId, &'a Arc<Budget>)>,
}

impl Output for WorkerOutput<'_> {
    fn protocol(&mut self, frame: &[u8]) -> bool {
        let report = self
            .source
            .and_then(|(port, budget)| {
                ProtocolFrame::new(port, frame, budget, &self.shared.pending)
            })
            .map(Report::Frame);
        report.is_some_and(|r| self.shared.reports.send(r).is_ok())
    }

    #[inline(always)]
    fn forward(&mut self, burst: Burst<'_>) -> Result<(), (DropReason, u64)> {
        let frames = u64::from(burst.frames);
        match self.shared.map.get(burst.egress) {
            None => Err((DropReason::PortClosed, frames)),
            Some(Owner { worker, slot }) if worker == self.me => {
                let outcome = self.egress.emit(slot, &burst, self.memory);
                outcome.map_err(|reason| (reason, frames))
            }
            Some(Owner { worker, slot }) => {
                let lost = self.handoff.push(worker, slot, &burst);
                match lost {
                    0 => Ok(()),
                    lost => Err((DropReason::HandoffFull, lost)),
                }
            }
        }
    }
}
