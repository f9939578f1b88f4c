//! The control thread: drives the state machine with reports, commands and time, and carries out
//! what it decides.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam::channel::{Receiver, Sender, TryRecvError, select};
use pinecone_controlplane::{ControlPlane, Effect, NewPeer};
use pinecone_dataplane::{CloseReason, DataPlane, PortCounters, PortId, PortOptions, Report};
use pinecone_transports::{Listeners, RelayTask, StaticPeerId, StaticPeersHandle, Transports};
use pinecone_wire::PublicKey;
use tokio::sync::{broadcast, oneshot, watch};

use crate::clock::Clock;
use crate::closings::Closings;
use crate::command::{Command, NewPeering, Unclaimed};
use crate::intake::Intake;
use crate::local::Local;
use crate::report;
use crate::verifiers::Verifiers;
use crate::{
    ConnectError, Direction, Event, LinkType, NodeError, OwnKeyElsewhere, Peer, PeerBandwidth,
    Status, Traffic,
};

/// Reports handled before the tables are published and effects carried out.
const BATCH: usize = 256;
/// The same in time, where they take long.
const TURN: Duration = Duration::from_millis(2);
/// Reports taken in at a time, so that all peerings that have something get their turn.
const COLLECT: usize = 4096;
/// How long to wait when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// See the module.
pub(crate) struct Control {
    pub(crate) control: ControlPlane,
    pub(crate) verifiers: Verifiers,
    pub(crate) dataplane: Arc<DataPlane>,
    pub(crate) reports: Receiver<Report>,
    pub(crate) commands: Receiver<Command>,
    /// For peerings that are abandoned before their caller has them.
    pub(crate) commands_to_self: Sender<Command>,
    pub(crate) local: Arc<Local>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) clock: Clock,
    pub(crate) bandwidth_interval: Duration,
    pub(crate) own: PublicKey,
    pub(crate) listeners: Listeners,
    pub(crate) transports: Transports,
    pub(crate) static_peers: StaticPeersHandle,
    pub(crate) runtime: RuntimeThread,
    /// Why the node failed, once it has.
    pub(crate) failure: Arc<OnceLock<NodeError>>,
}

/// The runtime thread, which ends when told or when the sender is dropped.
pub(crate) struct RuntimeThread {
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) thread: JoinHandle<()>,
}

/// What is known of a port beyond what the state machine needs.
struct Peering {
    key: PublicKey,
    link: LinkType,
    remote: String,
    direction: Direction,
    static_peer: Option<StaticPeerId>,
    /// Tells the peering from earlier and later ones on the same port.
    serial: u64,
    /// The task that relays its stream, if there is one.
    relay: Option<RelayTask>,
    since: SystemTime,
    up_at: Duration,
    counters: Arc<PortCounters>,
    /// What it had moved when bandwidth was last told.
    told: Traffic,
    /// Gone from the state machine, and not yet closed by the data plane.
    closing: bool,
    /// Who waits for it to be closed.
    waiting: Vec<oneshot::Sender<bool>>,
}

impl RuntimeThread {
    /// Tells it to stop, and waits until it has.
    fn end(self) {
        // Fails if the thread is gone already.
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the runtime thread panicked");
        }
    }
}

/// The thread's state.
struct Running {
    setup: Control,
    intake: Intake<Report>,
    peerings: BTreeMap<PortId, Peering>,
    /// The serial number of the next peering.
    next_serial: u64,
    root: PublicKey,
    closings: Closings,
    next_bandwidth: Duration,
}

impl Control {
    /// Ends what it was to drive: the node does not start after all.
    pub(crate) fn abandon(self) {
        self.runtime.end();
        self.verifiers.end();
    }

    /// Runs until the node closes.
    pub(crate) fn run(self) {
        let next_bandwidth = self.clock.uptime() + self.bandwidth_interval;
        let mut running = Running {
            root: self.own,
            intake: Intake::default(),
            peerings: BTreeMap::new(),
            next_serial: 0,
            closings: Closings::default(),
            next_bandwidth,
            setup: self,
        };
        running.run();
        running.close();
    }
}

impl Running {
    fn run(&mut self) {
        let reports = self.setup.reports.clone();
        let commands = self.setup.commands.clone();
        let verified = self.setup.verifiers.results();
        loop {
            self.setup.control.tick(self.setup.clock.now());
            self.settle();
            if self.setup.clock.uptime() >= self.next_bandwidth {
                self.tell_bandwidth();
            }
            for report in reports.try_iter().take(COLLECT) {
                self.take_in(report);
            }
            if self.has_failed() {
                return;
            }
            if self.work() {
                match commands.try_recv() {
                    Ok(Command::Close) | Err(TryRecvError::Disconnected) => return,
                    Ok(command) => self.command(command),
                    Err(TryRecvError::Empty) => {}
                }
                continue;
            }
            let now = self.setup.clock.uptime();
            let deadline = self.setup.control.next_deadline();
            let wait = deadline
                .map_or(self.next_bandwidth, |d| d.min(self.next_bandwidth))
                .saturating_sub(now)
                .min(IDLE);
            select! {
                recv(reports) -> report => {
                    // The data plane ends only when this thread says so.
                    let Ok(report) = report else { return };
                    self.take_in(report);
                }
                recv(verified) -> batch => {
                    // The threads end only when this one says so.
                    let Ok(batch) = batch else { return };
                    self.setup.verifiers.finished(batch);
                }
                recv(commands) -> command => match command {
                    Ok(Command::Close) | Err(_) => return,
                    Ok(command) => self.command(command),
                },
                default(wait) => {}
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

    /// Notes why the node cannot go on. The first reason counts.
    fn fail(&mut self, error: NodeError) {
        if self.setup.failure.set(error.clone()).is_ok() {
            self.tell(Event::Failed { error });
        }
    }

    fn has_failed(&self) -> bool {
        self.setup.failure.get().is_some()
    }

    /// Deals with what has come, for a while. Whether there was anything.
    fn work(&mut self) -> bool {
        if self.setup.verifiers.are_any() {
            self.work_with_verifiers()
        } else {
            self.work_alone()
        }
    }

    fn work_alone(&mut self) -> bool {
        let end = self.setup.clock.uptime() + TURN;
        for n in 0..BATCH {
            let Some(report) = self.intake.next(is_closed) else {
                return n > 0;
            };
            match report {
                Report::Frame(frame) => {
                    let now = self.setup.clock.now();
                    self.setup.control.frame(now, frame.port, frame.bytes());
                }
                Report::Closed { port, reason } => self.port_closed(port, &reason),
                Report::WorkerFailed(error) => self.fail(error.into()),
            }
            if self.setup.clock.uptime() >= end {
                break;
            }
        }
        true
    }

    fn work_with_verifiers(&mut self) -> bool {
        let mut worked = false;
        while let Some(frames) = self.setup.verifiers.next() {
            worked = true;
            for verified in frames {
                let port = verified.port();
                self.setup.control.apply(self.setup.clock.now(), verified);
                self.intake.done(port);
            }
        }
        for _ in 0..BATCH {
            if !self.setup.verifiers.have_room() {
                break;
            }
            let Some(report) = self.intake.next(is_closed) else {
                break;
            };
            worked = true;
            match report {
                Report::Frame(frame) => {
                    let (now, port) = (self.setup.clock.now(), frame.port);
                    if let Some(frame) = self.setup.control.admit(now, port, frame.bytes()) {
                        self.intake.begin(port, frame.holds_up());
                        self.setup.verifiers.push(frame);
                    }
                }
                Report::Closed { port, reason } => self.port_closed(port, &reason),
                Report::WorkerFailed(error) => self.fail(error.into()),
            }
        }
        self.setup.verifiers.flush();
        worked
    }

    /// Publishes the tables, then carries out effects: a frame that leads to us must not
    /// overtake the tables that say what to do with the answer.
    fn settle(&mut self) {
        self.setup.control.publish();
        while let Some(effect) = self.setup.control.poll_effect() {
            match effect {
                Effect::Send { port, frame } => self.setup.dataplane.send(port, frame),
                Effect::Close { port, reason } => {
                    self.start_closing(port, CloseReason::Requested(reason.to_string().into()));
                }
                Effect::Event(event) => self.event(event),
            }
        }
    }

    /// The data plane has closed a port, and everything that it brought is dealt with.
    fn port_closed(&mut self, port: PortId, reason: &CloseReason) {
        self.setup.control.closed(self.setup.clock.now(), port);
        self.closed(port, reason);
        // The number may be given away again: not before all of this is done.
        self.settle();
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Connect { peering, reply } => match reply {
                Some(reply) if reply.is_closed() => drop(peering),
                Some(reply) => drop(reply.send(self.connect(peering))),
                // Streams that the transports made by themselves: nobody waits for a reply.
                None => {
                    let _ = self.connect(peering).map(Unclaimed::claim);
                }
            },
            Command::Abandon { port, serial } => self.abandon(port, serial),
            Command::Disconnect { port, reply } => self.disconnect(port, reply),
            Command::Peers { reply } => {
                let _ = reply.send(self.peers());
            }
            Command::StaticPeers { reply } => {
                let _ = reply.send(report::static_peers(&self.setup.static_peers));
            }
            Command::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Command::Fail(error) => self.fail(error),
            // Looked at before.
            Command::Close => {}
        }
    }

    fn connect(&mut self, new: NewPeering) -> Result<Unclaimed, ConnectError> {
        let now = self.setup.clock.now();
        let NewPeering { key, link, .. } = new;
        let peer = NewPeer {
            key,
            link,
            extensions: new.extensions,
        };
        let port = match self.setup.control.connect(now, peer) {
            Ok(port) => port,
            Err(refused) => {
                tracing::info!(peer = %key, remote = new.remote, reason = %refused, "peering refused");
                if let Some(id) = new.static_peer {
                    self.setup.static_peers.ended(id, refused.to_string());
                }
                return Err(refused.into());
            }
        };
        let options = PortOptions {
            link,
            keepalives: new.keepalives,
        };
        let counters = self.setup.dataplane.add_port(port, new.stream, options);
        tracing::info!(%port, peer = %key, remote = new.remote, "peering up");
        self.tell(Event::PeerAdded {
            port,
            key,
            link,
            remote: new.remote.clone(),
        });
        let serial = self.next_serial;
        self.next_serial += 1;
        let peering = Peering {
            key,
            link,
            remote: new.remote,
            direction: new.direction,
            static_peer: new.static_peer,
            serial,
            relay: new.relay,
            since: SystemTime::now(),
            up_at: now.monotonic,
            counters,
            told: Traffic::default(),
            closing: false,
            waiting: Vec::new(),
        };
        self.peerings.insert(port, peering);
        self.settle();
        drop(new.place);
        let control = self.setup.commands_to_self.clone();
        Ok(Unclaimed::new(port, serial, control))
    }

    /// Closes a peering that its caller never took, and releases its stream at once.
    fn abandon(&mut self, port: PortId, serial: u64) {
        let peering = self.peerings.get_mut(&port);
        let Some(peering) = peering.filter(|p| p.serial == serial && !p.closing) else {
            return;
        };
        peering.relay = None;
        let now = self.setup.clock.now();
        (self.setup.control).disconnect(now, port, pinecone_controlplane::CloseReason::Requested);
    }

    fn disconnect(&mut self, port: PortId, reply: oneshot::Sender<bool>) {
        let now = self.setup.clock.now();
        let Some(peering) = self.peerings.get_mut(&port).filter(|p| !p.closing) else {
            let _ = reply.send(false);
            return;
        };
        peering.waiting.push(reply);
        (self.setup.control).disconnect(now, port, pinecone_controlplane::CloseReason::Requested);
    }

    fn start_closing(&mut self, port: PortId, reason: CloseReason) {
        if let Some(peering) = self.peerings.get_mut(&port) {
            peering.closing = true;
        }
        self.setup.dataplane.remove_port(port, reason);
    }

    /// The data plane has closed a port.
    fn closed(&mut self, port: PortId, reason: &CloseReason) {
        let Some(peering) = self.peerings.remove(&port) else {
            return;
        };
        tracing::info!(%port, peer = %peering.key, remote = peering.remote, %reason, "peering down");
        self.closings.count(reason);
        if let Some(id) = peering.static_peer {
            self.setup.static_peers.ended(id, reason.to_string());
        }
        self.tell(Event::PeerRemoved {
            port,
            key: peering.key,
            reason: reason.to_string(),
        });
        for reply in peering.waiting {
            let _ = reply.send(true);
        }
        if let Some(relay) = peering.relay {
            // It passes on what was sent before the peering was closed.
            relay.detach();
        }
    }

    fn event(&mut self, event: pinecone_controlplane::Event) {
        use pinecone_controlplane::Event as Decided;
        let event = match event {
            // Told when the data plane has the port, and has closed it.
            Decided::PeerAdded { .. } | Decided::PeerRemoved { .. } => return,
            Decided::ParentChanged { parent } => Event::ParentChanged { parent },
            Decided::RootChanged { root, sequence } => {
                if self.root != root {
                    self.root = root;
                    self.setup.local.forget_places();
                }
                Event::RootChanged { root, sequence }
            }
            Decided::CoordinatesChanged(coordinates) => Event::CoordinatesChanged { coordinates },
            Decided::DescendingChanged(descending) => Event::DescendingChanged { descending },
            Decided::RouteAdded(key) => Event::RouteAdded { key },
            Decided::RouteRemoved(key) => Event::RouteRemoved { key },
            Decided::Broadcast { key, sequence, .. } => Event::BroadcastReceived { key, sequence },
        };
        self.tell(event);
    }

    /// Tells subscribers, if there are any.
    fn tell(&self, event: Event) {
        let _ = self.setup.events.send(event);
    }

    fn tell_bandwidth(&mut self) {
        self.next_bandwidth = self.setup.clock.uptime() + self.setup.bandwidth_interval;
        let up = self.peerings.iter_mut().filter(|(_, p)| !p.closing);
        let peers = up.map(|(&port, peering)| {
            let moved = report::traffic(&peering.counters.snapshot());
            let earlier = std::mem::replace(&mut peering.told, moved);
            PeerBandwidth {
                port,
                key: peering.key,
                traffic: moved.since(&earlier),
            }
        });
        let event = Event::Bandwidth {
            peers: peers.collect(),
        };
        self.tell(event);
    }

    fn peers(&self) -> Vec<Peer> {
        let uptime = self.setup.clock.uptime();
        let decided: BTreeMap<_, _> = (self.setup.control.peers().into_iter())
            .map(|p| (p.port, p))
            .collect();
        let up = self.peerings.iter().filter(|(_, p)| !p.closing);
        up.map(|(&port, peering)| {
            let counters = peering.counters.snapshot();
            let decided = decided.get(&port);
            Peer {
                port,
                key: peering.key,
                remote: peering.remote.clone(),
                direction: peering.direction,
                link: peering.link,
                connected_since: peering.since,
                connected_for: uptime.saturating_sub(peering.up_at),
                coordinates: decided.and_then(|p| p.coordinates.clone()),
                root: decided.and_then(|p| p.root.map(|(root, _)| root)),
                traffic: report::traffic(&counters),
                drops: report::drops(&counters),
                delivered_frames: counters.delivered_frames,
                expired_route_frames: counters.expired_route_frames,
                detoured_frames: counters.detoured_frames,
                queued_bytes: counters.queued_bytes,
                queued_frames: counters.queued_frames,
            }
        })
        .collect()
    }

    fn status(&self) -> Status {
        let setup = &self.setup;
        let decided = setup.control.status();
        let info = setup.dataplane.info();
        let workers = report::workers(&setup.dataplane.worker_stats());
        let mut counters = report::transports(&setup.transports.counters());
        counters.extend(report::control(&setup.control.counters()));
        counters.extend(setup.local.counters());
        counters.extend(self.closings.counters());
        Status {
            public_key: setup.own,
            coordinates: decided.coordinates,
            root: decided.root,
            root_sequence: decided.root_sequence,
            parent: decided.parent.map(|(_, key)| key),
            clock_behind_ms: decided.clock_behind_ms,
            descending: decided.descending,
            routes: decided.routes,
            peers: self.peers(),
            static_peers: report::static_peers(&setup.static_peers),
            engine: info.name.to_owned(),
            engine_reason: info.description.clone(),
            workers,
            counters,
            uptime: setup.clock.uptime(),
            listeners: setup.listeners.local_addrs(),
            missing_listeners: setup.listeners.missing(),
            own_key_elsewhere: own_key_elsewhere(setup),
        }
    }

    /// Ends everything: nothing new comes in, then all ports close, then all threads have ended.
    fn close(mut self) {
        self.setup.local.close();
        // It hands over nothing more once it has ended; what it has is dropped with the channel.
        let _ = self.setup.runtime.stop.send(true);
        self.setup.dataplane.shutdown();
        let reports = self.setup.reports.clone();
        let waiting: Vec<_> = self.intake.drain().collect();
        for report in waiting.into_iter().chain(reports.try_iter()) {
            if let Report::Closed { port, reason } = report {
                self.closed(port, &reason);
            }
        }
        let uptime_s = self.setup.clock.uptime().as_secs();
        self.setup.runtime.end();
        self.setup.verifiers.end();
        let failure = self.setup.failure.get().map(tracing::field::display);
        tracing::info!(key = %self.setup.own, uptime_s, failure, "node closed");
    }
}

fn own_key_elsewhere(setup: &Control) -> OwnKeyElsewhere {
    let signed = setup.control.counters();
    OwnKeyElsewhere {
        handshakes: setup.transports.counters().own_key_elsewhere,
        signed_frames: signed.bootstraps_own_elsewhere
            + signed.broadcasts_own_elsewhere
            + signed.announcements_own_elsewhere,
    }
}

fn is_closed(report: &Report) -> bool {
    matches!(report, Report::Closed { .. })
}
