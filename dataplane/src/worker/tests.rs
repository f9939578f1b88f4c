use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use crossbeam::channel::{Receiver, unbounded};
use pinecone_fib::{FibWriter, LinkType};
use pinecone_wire::frame::KEEPALIVE;
use pinecone_wire::{PublicKey, TrafficLayout};
use rustix::event::{PollFd, PollFlags, poll};

use super::*;
use crate::PortId;
use crate::counters::{PortCounters, WorkerCounters};
use crate::delivery::Delivery;
use crate::engine::SharedPoller;
use crate::mailbox::{Command, Mailbox, NewPort};
use crate::options::{DataPlaneOptions, PortOptions};
use crate::port_map::PortMap;
use crate::registry::Registry;
use crate::report::Budget;

struct Nobody;

impl Delivery for Nobody {
    fn deliver(&self, _: PortId, _: &[u8], _: &TrafficLayout) -> bool {
        false
    }
}

/// A data plane of one worker, which the test drives itself.
struct Bench {
    shared: Arc<Shared>,
    worker: Worker,
    reports: Receiver<Report>,
    _fib: FibWriter,
}

impl Bench {
    fn new(engine: EngineKind) -> Self {
        let (fib_writer, fib) = FibWriter::new(PublicKey([1; 32]));
        let (reports, receiver) = unbounded();
        let options = DataPlaneOptions::default();
        let shared = Arc::new(Shared {
            engine,
            fib,
            delivery: Arc::new(Nobody),
            map: PortMap::new(16),
            mailboxes: vec![Arc::new(Mailbox::new(1, 16).unwrap())],
            counters: vec![WorkerCounters::default()],
            reports,
            pending: Budget::new(1 << 20),
            registry: Registry::default(),
            poller: SharedPoller::default(),
            options,
        });
        Self {
            worker: Worker::new(0, Arc::clone(&shared)).unwrap(),
            shared,
            reports: receiver,
            _fib: fib_writer,
        }
    }

    /// Iterates until there is nothing to do at once.
    fn rest(&mut self) -> Option<Duration> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.worker.prepare_wait() {
                Some(Duration::ZERO) => {}
                timeout => return timeout,
            }
            assert!(Instant::now() < deadline, "the worker never rests");
            assert!(self.worker.iterate(Waiting::Poll).unwrap().is_continue());
        }
    }

    /// Waits for the descriptor, and then iterates until there is nothing to do.
    fn wait_and_rest(&mut self) {
        let mut fds = [PollFd::from_borrowed_fd(
            self.worker.descriptor(),
            PollFlags::IN,
        )];
        let timeout = Duration::from_secs(20).try_into().unwrap();
        let ready = poll(&mut fds, Some(&timeout)).unwrap();
        assert_eq!(ready, 1, "the descriptor never becomes readable");
        assert!(self.worker.iterate(Waiting::Poll).unwrap().is_continue());
        self.rest();
    }
}

/// A driver of several workers waits for their descriptors and loses no event.
#[test]
fn a_worker_can_be_driven_by_its_descriptor() {
    for engine in [EngineKind::Uring, EngineKind::Epoll] {
        let mut bench = Bench::new(engine);
        assert_eq!(bench.rest(), None, "without a port there is no timer");
        // The worker wakes for a command,
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let counters = Arc::new(PortCounters::default());
        let port = PortId(1);
        let new = NewPort {
            port,
            stream: ours.into(),
            options: PortOptions {
                link: LinkType::Pipe,
                keepalives: true,
            },
            counters: Arc::clone(&counters),
            budget: Budget::new(1 << 20),
        };
        bench.shared.mailboxes[0].tell(Command::Add(new));
        bench.wait_and_rest();
        let timeout = bench.rest();
        assert!(
            timeout.is_some_and(|t| t <= Duration::from_secs(3)),
            "{timeout:?}"
        );
        // for bytes, again and again,
        for round in 1..=100 {
            theirs.write_all(&KEEPALIVE).unwrap();
            while counters.rx_protocol_frames.get() < round {
                bench.wait_and_rest();
            }
        }
        // also after iterations that did not look for them,
        if engine == EngineKind::Epoll {
            theirs.write_all(&KEEPALIVE).unwrap();
            for _ in 0..3 {
                assert!(bench.worker.iterate(Waiting::Skip).unwrap().is_continue());
            }
            assert_eq!(counters.rx_protocol_frames.get(), 100);
            bench.wait_and_rest();
            assert_eq!(counters.rx_protocol_frames.get(), 101);
        }
        // for a frame to send,
        let frame = KEEPALIVE.to_vec();
        bench.shared.mailboxes[0].tell(Command::Send { port, frame });
        bench.wait_and_rest();
        let mut got = [0; KEEPALIVE.len()];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(got, KEEPALIVE);
        // and for the shutdown.
        bench.shared.mailboxes[0].tell(Command::Shutdown);
        let Bench { mut worker, .. } = bench;
        while worker.iterate(Waiting::Block).unwrap().is_continue() {}
        worker.finish(Ok(()));
        let closed = bench.reports.try_recv();
        assert!(matches!(closed, Ok(Report::Closed { .. })), "{closed:?}");
    }
}
