//! The driver of the control plane: passes in reports, commands and time, and carries out its decisions.
//!
//! A [`Control`] is driven by calls of [`Control::iterate`]: on a thread of its own by [`Control::run`], or
//! together with others by a [host](crate::Host).

mod commands;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Receiver, select};
use pinecone_controlplane::{ControlPlane, Effect, Now, VerifiedBodies};
use pinecone_dataplane::{CloseReason, DataPlane, PortId, Report};
use pinecone_wire::PublicKey;

use crate::clock::Clock;
use crate::command::{Command, CommandSender};
use crate::event::EventSender;
use crate::intake::Intake;
use crate::local::Local;
use crate::peerings::Peerings;
use crate::report;
use crate::runtime::NodeTransports;
use crate::verifiers::Verifiers;
use crate::{Event, NodeError, OwnKeyElsewhere, Peer, Status};

/// Reports handled before the tables are published and effects are carried out.
const BATCH: usize = 256;
/// The longest time spent on such a batch.
const BATCH_TIME: Duration = Duration::from_millis(2);
/// Reports taken in at a time, so that all peerings that have sent frames get their share.
const COLLECT: usize = 4096;
/// The longest wait when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// The parts that a [`Control`] starts from, apart from the data plane.
pub(crate) struct Parts {
    pub(crate) control: ControlPlane,
    pub(crate) verifiers: Verifiers,
    pub(crate) commands: Receiver<Command>,
    /// The other end of `commands`, for peerings whose caller stops waiting.
    pub(crate) sender: CommandSender,
    pub(crate) local: Arc<Local>,
    pub(crate) events: EventSender,
    pub(crate) clock: Clock,
    pub(crate) bandwidth_interval: Duration,
    pub(crate) own: PublicKey,
    pub(crate) transports: NodeTransports,
    /// Bodies that other nodes of the process have verified.
    pub(crate) verified: Option<Arc<Mutex<VerifiedBodies>>>,
    /// The reason why the node failed, once it has.
    pub(crate) failure: Arc<OnceLock<NodeError>>,
}

/// The control of one node. See the module.
pub(crate) struct Control {
    parts: Parts,
    dataplane: Arc<DataPlane>,
    reports: Receiver<Report>,
    intake: Intake<Report>,
    peerings: Peerings,
    root: PublicKey,
    next_bandwidth: Duration,
    /// Set once the node has been told to close.
    closing: bool,
    /// Set once [`Event::Failed`] has been published.
    failure_published: bool,
    /// Set once the transports have ended.
    transports_ended: bool,
}

/// The outcome of an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More input may be waiting. Iterate again at once.
    More,
    /// The next timer is due after this time. Until then only reports and commands need an iteration.
    Idle(Duration),
    /// The node closes: [`Control::begin_close`] is next.
    Closing,
}

impl Parts {
    /// Ends the parts of a node that does not start after all.
    pub(crate) fn end(self) {
        self.transports.stop();
        let commands = self.commands.iter();
        let _ = commands
            .take_while(|c| !matches!(c, Command::TransportsEnded))
            .count();
        self.transports.join();
        self.verifiers.end();
    }
}

impl Control {
    pub(crate) fn new(parts: Parts, dataplane: Arc<DataPlane>, reports: Receiver<Report>) -> Self {
        Self {
            root: parts.own,
            intake: Intake::default(),
            peerings: Peerings::default(),
            next_bandwidth: parts.clock.uptime() + parts.bandwidth_interval,
            closing: false,
            failure_published: false,
            transports_ended: false,
            parts,
            dataplane,
            reports,
        }
    }

    /// Runs until the node has closed; [`Self::finish`] is next. For a node whose workers have threads of their own.
    pub(crate) fn run(&mut self) {
        loop {
            match self.iterate() {
                Progress::More => {}
                Progress::Idle(wait) => self.wait(wait),
                Progress::Closing => break,
            }
        }
        self.begin_close();
        self.dataplane.shutdown();
        self.workers_ended();
        self.wait_for_transports();
    }

    /// Ends the node after a panic: tells the subscribers, and drops all handles.
    pub(crate) fn end_after_panic(mut self) {
        self.fail(self.panicked());
    }

    /// Returns the error for a panic of the calling thread.
    fn panicked(&self) -> NodeError {
        // Only the nodes of a host share verified bodies.
        let thread = match self.parts.verified {
            Some(_) => "host",
            None => "control",
        };
        NodeError::Panicked { thread }
    }

    /// Ends the parts of a node that does not start after all.
    pub(crate) fn abandon(self) {
        self.dataplane.shutdown();
        self.parts.end();
    }

    /// Handles a batch of the input that has arrived.
    pub(crate) fn iterate(&mut self) -> Progress {
        self.parts.control.tick(self.parts.clock.now());
        self.carry_out();
        if self.parts.clock.uptime() >= self.next_bandwidth {
            self.report_bandwidth();
        }
        for _ in 0..COLLECT {
            let Ok(report) = self.reports.try_recv() else {
                break;
            };
            self.take_in(report);
        }
        let mut worked = !self.has_failed() && self.work();
        if let Ok(command) = self.parts.commands.try_recv() {
            self.command(command);
            worked = true;
        }
        if self.closing || self.has_failed() {
            return Progress::Closing;
        }
        if worked {
            // Done here, so that the last batch needs no further iteration.
            self.carry_out();
            if self.has_input() || self.intake.has_next() {
                return Progress::More;
            }
        }
        let now = self.parts.clock.uptime();
        let deadline = self.parts.control.next_deadline();
        let wait = deadline
            .map_or(self.next_bandwidth, |d| d.min(self.next_bandwidth))
            .saturating_sub(now)
            .min(IDLE);
        Progress::Idle(wait)
    }

    /// Waits for a report or a command.
    fn wait(&mut self, longest: Duration) {
        let verified = self.parts.verifiers.results();
        select! {
            recv(self.reports) -> report => match report {
                Ok(report) => self.take_in(report),
                // The data plane ends before this thread only if it has failed.
                Err(_) => self.closing = true,
            },
            recv(verified) -> batch => match batch {
                Ok(batch) => self.parts.verifiers.finished(batch),
                // The verifier threads, too, end before this thread only if they have failed.
                Err(_) => self.closing = true,
            },
            recv(self.parts.commands) -> command => match command {
                Ok(command) => self.command(command),
                Err(_) => self.closing = true,
            },
            default(longest) => {}
        }
    }

    /// Waits until the transports, which have been told to end, have ended.
    fn wait_for_transports(&mut self) {
        while !self.transports_ended {
            match self.parts.commands.recv() {
                Ok(command) => self.command(command),
                Err(_) => return,
            }
        }
    }

    fn take_in(&mut self, report: Report) {
        let port = match &report {
            Report::Frame(frame) => frame.port,
            Report::Closed { port, .. } => *port,
            Report::WorkerFailed(error) => return self.fail(error.clone().into()),
        };
        self.intake.push(port, report);
    }

    /// Records the reason why the node cannot go on. The first reason counts.
    fn fail(&mut self, error: NodeError) {
        let error = self.parts.failure.get_or_init(|| error).clone();
        if !std::mem::replace(&mut self.failure_published, true) {
            self.publish(Event::Failed { error });
        }
    }

    fn has_failed(&self) -> bool {
        self.parts.failure.get().is_some()
    }

    /// Handles a batch of reports. Returns whether there were any.
    fn work(&mut self) -> bool {
        if self.parts.verifiers.are_any() {
            self.work_with_verifiers()
        } else {
            self.work_alone()
        }
    }

    fn work_alone(&mut self) -> bool {
        let end = self.parts.clock.uptime() + BATCH_TIME;
        for n in 0..BATCH {
            let Some(report) = self.intake.next(is_closed) else {
                return n > 0;
            };
            match report {
                Report::Frame(frame) => {
                    let now = self.parts.clock.now();
                    match self.parts.verified.clone() {
                        None => self.parts.control.frame(now, frame.port, frame.bytes()),
                        Some(verified) => self.frame(now, frame.port, frame.bytes(), &verified),
                    }
                }
                Report::Closed { port, reason } => self.port_closed(port, &reason),
                Report::WorkerFailed(error) => self.fail(error.into()),
            }
            if self.parts.clock.uptime() >= end {
                break;
            }
        }
        true
    }

    /// Handles a frame whose body another node of the process may have verified.
    fn frame(&mut self, now: Now, port: PortId, frame: &[u8], bodies: &Mutex<VerifiedBodies>) {
        let Some(frame) = self.parts.control.admit(now, port, frame) else {
            return;
        };
        // The lock is not held while a signature is verified.
        let lock = || bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = lock().contains(&frame);
        let verified = match is_known {
            true => frame.trust(),
            false => {
                let verified = frame.verify();
                lock().insert(&verified);
                verified
            }
        };
        self.parts.control.apply(now, verified);
    }

    fn work_with_verifiers(&mut self) -> bool {
        let mut worked = false;
        while let Some(frames) = self.parts.verifiers.next() {
            worked = true;
            for verified in frames {
                let port = verified.port();
                self.parts.control.apply(self.parts.clock.now(), verified);
                self.intake.done(port);
            }
        }
        for _ in 0..BATCH {
            if !self.parts.verifiers.have_room() {
                break;
            }
            let Some(report) = self.intake.next(is_closed) else {
                break;
            };
            worked = true;
            match report {
                Report::Frame(frame) => {
                    let (now, port) = (self.parts.clock.now(), frame.port);
                    if let Some(frame) = self.parts.control.admit(now, port, frame.bytes()) {
                        self.intake.begin(port, frame.holds_up());
                        self.parts.verifiers.push(frame);
                    }
                }
                Report::Closed { port, reason } => self.port_closed(port, &reason),
                Report::WorkerFailed(error) => self.fail(error.into()),
            }
        }
        self.parts.verifiers.flush();
        worked
    }

    /// Publishes the tables, then carries out the effects. A sent frame may cause an answer, which must find the new
    /// tables.
    fn carry_out(&mut self) {
        self.parts.control.publish();
        while let Some(effect) = self.parts.control.poll_effect() {
            match effect {
                Effect::Send { port, frame } => self.dataplane.send(port, frame),
                Effect::Close { port, reason } => {
                    self.peerings.closing(port);
                    let reason = CloseReason::Requested(reason.to_string().into());
                    self.dataplane.remove_port(port, reason);
                }
                Effect::Event(event) => self.event(event),
            }
        }
        let joining = &self.parts.local.joining;
        if joining.is_waited_for() && self.has_joined() {
            joining.joined();
        }
    }

    /// Reports whether a peer has announced the root that this node follows.
    fn has_joined(&self) -> bool {
        let root = self.parts.control.status().root;
        let mut peers = self.parts.control.peers().into_iter();
        peers.any(|peer| peer.root.is_some_and(|(followed, _)| followed == root))
    }

    /// Records that the data plane has closed a port. All frames from the port have been handled.
    fn port_closed(&mut self, port: PortId, reason: &CloseReason) {
        self.parts.control.closed(self.parts.clock.now(), port);
        self.remove_peering(port, reason);
        // Effects for the port must be carried out before its number is given to another peering.
        self.carry_out();
    }

    fn event(&mut self, event: pinecone_controlplane::Event) {
        use pinecone_controlplane::Event as Decided;
        let event = match event {
            // These are published once the data plane has opened or closed the port.
            Decided::PeerAdded { .. } | Decided::PeerRemoved { .. } => return,
            Decided::ParentChanged { parent } => Event::ParentChanged { parent },
            Decided::RootChanged { root, sequence } => {
                if self.root != root {
                    self.root = root;
                    self.parts.local.forget_places();
                }
                Event::RootChanged { root, sequence }
            }
            Decided::CoordinatesChanged(coordinates) => Event::CoordinatesChanged { coordinates },
            Decided::DescendingChanged(descending) => Event::DescendingChanged { descending },
            Decided::RouteAdded(key) => Event::RouteAdded { key },
            Decided::RouteRemoved(key) => Event::RouteRemoved { key },
            Decided::Broadcast { key, sequence, .. } => Event::BroadcastReceived { key, sequence },
        };
        self.publish(event);
    }

    /// Sends an event to the subscribers, if there are any. Their wakers are code of the application and may panic.
    fn publish(&self, event: Event) {
        let sent = catch_unwind(AssertUnwindSafe(|| self.parts.events.send(event)));
        if let Err(panic) = sent {
            // Recorded here, as unwinding drops replies whose receivers read it.
            let _ = self.parts.failure.set(self.panicked());
            resume_unwind(panic);
        }
    }

    fn report_bandwidth(&mut self) {
        self.next_bandwidth = self.parts.clock.uptime() + self.parts.bandwidth_interval;
        let peers = self.peerings.bandwidth();
        self.publish(Event::Bandwidth { peers });
    }

    fn peers(&self) -> Vec<Peer> {
        let decided = self.parts.control.peers();
        self.peerings.list(self.parts.clock.uptime(), decided)
    }

    fn status(&self) -> Status {
        let parts = &self.parts;
        let decided = parts.control.status();
        let info = self.dataplane.info();
        let workers = report::workers(&self.dataplane.worker_stats());
        let transports = &parts.transports;
        let mut counters = report::transports(&transports.transports.counters());
        counters.extend(report::control(&parts.control.counters()));
        counters.extend(parts.local.counters());
        counters.extend(self.peerings.counters());
        Status {
            public_key: parts.own,
            coordinates: decided.coordinates,
            root: decided.root,
            root_sequence: decided.root_sequence,
            parent: decided.parent.map(|(_, key)| key),
            clock_behind_ms: decided.clock_behind_ms,
            descending: decided.descending,
            routes: decided.routes,
            peers: self.peers(),
            static_peers: report::static_peers(&transports.static_peers),
            engine: info.name.to_owned(),
            engine_reason: info.description.clone(),
            workers,
            counters,
            uptime: parts.clock.uptime(),
            listeners: transports.listeners.list(),
            missing_listeners: transports.listeners.missing(),
            own_key_elsewhere: own_key_elsewhere(parts),
        }
    }

    /// Tells all parts to end. From now on, no new streams are taken in.
    pub(crate) fn begin_close(&mut self) {
        self.closing = true;
        self.parts.local.close();
        // The transports hand over no more streams once they have ended. Those in the channel are dropped with it.
        self.parts.transports.stop();
    }

    /// Tells the workers to close all ports and to end.
    pub(crate) fn shut_workers_down(&self) {
        self.dataplane.begin_shutdown();
    }

    /// Reports whether there are reports or commands to handle.
    pub(crate) fn has_input(&self) -> bool {
        !self.reports.is_empty() || !self.parts.commands.is_empty()
    }

    /// Reports whether the transports have ended, once [`Self::begin_close`] has told them to. Streams that they have
    /// made meanwhile are dropped.
    pub(crate) fn have_transports_ended(&mut self) -> bool {
        while let Ok(command) = self.parts.commands.try_recv() {
            self.command(command);
        }
        self.transports_ended
    }

    /// Records the ports that the workers, which have ended, have closed.
    pub(crate) fn workers_ended(&mut self) {
        let reports = self.reports.clone();
        let waiting: Vec<_> = self.intake.drain().collect();
        for report in waiting.into_iter().chain(reports.try_iter()) {
            if let Report::Closed { port, reason } = report {
                self.remove_peering(port, &reason);
            }
        }
    }

    /// Ends the control of a node whose workers and transports have ended.
    pub(crate) fn finish(self) {
        self.parts.transports.join();
        self.parts.verifiers.end();
        let uptime_s = self.parts.clock.uptime().as_secs();
        let failure = self.parts.failure.get().map(tracing::field::display);
        tracing::info!(key = %self.parts.own, uptime_s, failure, "node closed");
    }
}

fn own_key_elsewhere(parts: &Parts) -> OwnKeyElsewhere {
    let signed = parts.control.counters();
    OwnKeyElsewhere {
        handshakes: parts.transports.transports.counters().own_key_elsewhere,
        signed_frames: signed.bootstraps_own_elsewhere
            + signed.broadcasts_own_elsewhere
            + signed.announcements_own_elsewhere,
    }
}

fn is_closed(report: &Report) -> bool {
    matches!(report, Report::Closed { .. })
}
