//! A worker on tokio-uring: a task for each connection, owned buffers, and one write in flight for each
//! connection out. Tables, parsing and patching are those of this repository. Frames are copied to a
//! buffer of their connection out, as a library with owned buffers requires.

use std::cell::{Cell, RefCell};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use pinecone_dataplane::PortId;
use pinecone_fib::{Decision, Fib, FibReader, SnekHop, SnekQuery, forward_decision};
use pinecone_wire::{Patch, Split, TrafficLayout, split};
use tokio::sync::Notify;
use tokio_uring::buf::BoundedBuf;

use super::account::{Account, Forwarder};
use crate::links::{ROUTER_CORE, pin, thread_id};

const BUFFER: usize = 256 << 10;
/// Frames looked up together.
const BATCH: usize = 32;
/// Bytes that may wait for a connection out. Further frames are dropped.
const WAITING: usize = 4 << 20;

pub struct TokioWorker {
    counts: Arc<Counts>,
    threads: [u32; 1],
    sockets: Vec<TcpStream>,
    handle: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counts {
    received: AtomicU64,
    forwarded: AtomicU64,
    forwarded_bytes: AtomicU64,
    dropped: AtomicU64,
}

impl TokioWorker {
    pub fn start(ends: Vec<TcpStream>, fib: Fib) -> Self {
        let sockets = ends.iter().map(|s| s.try_clone().expect("dup")).collect();
        let counts = Arc::<Counts>::default();
        let (tell, told) = mpsc::channel();
        let theirs = Arc::clone(&counts);
        let handle = std::thread::spawn(move || {
            pin(ROUTER_CORE);
            tell.send(thread_id()).expect("tell");
            let mut flags = tokio_uring::uring_builder();
            flags.setup_coop_taskrun();
            tokio_uring::builder()
                .entries(1024)
                .uring_builder(&flags)
                .start(work(ends, fib.reader(), theirs));
        });
        Self {
            counts,
            threads: [told.recv().expect("thread")],
            sockets,
            handle: Some(handle),
        }
    }
}

impl Forwarder for TokioWorker {
    fn threads(&self) -> &[u32] {
        &self.threads
    }

    fn account(&self) -> Option<Account> {
        let counts = &self.counts;
        let (received, forwarded, dropped) = (
            counts.received.load(Relaxed),
            counts.forwarded.load(Relaxed),
            counts.dropped.load(Relaxed),
        );
        Some(Account {
            received,
            forwarded,
            forwarded_bytes: counts.forwarded_bytes.load(Relaxed),
            delivered: 0,
            dropped,
            reasons: match dropped {
                0 => String::new(),
                _ => format!("{dropped} queue_full"),
            },
            waiting: received.saturating_sub(forwarded + dropped),
        })
    }
}

impl Drop for TokioWorker {
    fn drop(&mut self) {
        // Ends all reads and writes in flight, and so the tasks.
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(self.handle.take().map(JoinHandle::join));
    }
}

/// A connection out.
#[derive(Default)]
struct Egress {
    waiting: RefCell<Vec<u8>>,
    frames: Cell<u64>,
    more: Notify,
}

/// The state that the reading tasks share.
struct Router {
    fib: FibReader,
    egress: Vec<Rc<Egress>>,
    counts: Arc<Counts>,
    batch: Vec<(usize, TrafficLayout, usize)>,
    queries: Vec<SnekQuery>,
    hops: Vec<SnekHop>,
}

async fn work(mut ends: Vec<TcpStream>, fib: FibReader, counts: Arc<Counts>) {
    let outputs = ends.split_off(ends.len() / 2);
    let egress: Vec<_> = outputs.iter().map(|_| Rc::<Egress>::default()).collect();
    let router = Rc::new(RefCell::new(Router {
        fib,
        egress: egress.clone(),
        counts: Arc::clone(&counts),
        batch: Vec::with_capacity(BATCH),
        queries: Vec::with_capacity(BATCH),
        hops: Vec::with_capacity(BATCH),
    }));
    for (output, egress) in outputs.into_iter().zip(egress) {
        tokio_uring::spawn(write(output, egress, Arc::clone(&counts)));
    }
    let readers: Vec<_> = (1..)
        .map(PortId)
        .zip(ends)
        .map(|(port, input)| tokio_uring::spawn(read(input, port, Rc::clone(&router))))
        .collect();
    for reader in readers {
        let _ = reader.await;
    }
}

async fn read(input: TcpStream, port: PortId, router: Rc<RefCell<Router>>) {
    let input = tokio_uring::net::TcpStream::from_std(input);
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        let kept = buffer.len();
        let (result, slice) = input.read(buffer.slice(kept..)).await;
        buffer = slice.into_inner();
        if !result.is_ok_and(|n| n > 0) {
            return;
        }
        let done = router.borrow_mut().forward(port, &mut buffer);
        buffer.copy_within(done.., 0);
        buffer.truncate(buffer.len() - done);
    }
}

async fn write(output: TcpStream, egress: Rc<Egress>, counts: Arc<Counts>) {
    let output = tokio_uring::net::TcpStream::from_std(output);
    let mut buffer = Vec::new();
    loop {
        if egress.waiting.borrow().is_empty() {
            egress.more.notified().await;
            continue;
        }
        std::mem::swap(&mut buffer, &mut egress.waiting.borrow_mut());
        let (frames, bytes) = (egress.frames.take(), buffer.len() as u64);
        let result;
        (result, buffer) = output.write_all(buffer).await;
        if result.is_err() {
            return;
        }
        counts.forwarded.fetch_add(frames, Relaxed);
        counts.forwarded_bytes.fetch_add(bytes, Relaxed);
        buffer.clear();
    }
}

impl Router {
    /// Forwards all whole frames. Returns the offset of the partial frame at the end.
    fn forward(&mut self, ingress: PortId, bytes: &mut [u8]) -> usize {
        let (mut at, mut received) = (0, 0);
        while let Split::Frame(header) = split(&bytes[at..]).expect("frames are valid") {
            let end = at + usize::from(header.len);
            let frame = &bytes[at..end];
            let layout = TrafficLayout::parse(frame).expect("frames are valid");
            let query = SnekQuery {
                destination: layout.destination_key(frame),
                watermark: layout.watermark(frame),
            };
            if self.queries.last() != Some(&query) {
                self.queries.push(query);
            }
            self.batch.push((at, layout, self.queries.len() - 1));
            (at, received) = (end, received + 1);
            if self.batch.len() == BATCH {
                self.route(ingress, bytes);
            }
        }
        self.route(ingress, bytes);
        self.counts.received.fetch_add(received, Relaxed);
        at
    }

    fn route(&mut self, ingress: PortId, bytes: &mut [u8]) {
        self.hops.clear();
        self.fib.load().snek_batch(&self.queries, &mut self.hops);
        for (at, layout, query) in self.batch.drain(..) {
            let (hop, query) = (&self.hops[query], &self.queries[query]);
            let frame = &mut bytes[at..at + layout.len()];
            let port = match forward_decision(ingress, &query.watermark, hop) {
                Decision::Send(port) => port.0 as usize,
                _ => 0,
            };
            let first = self.egress.len() + 1;
            let egress = port.checked_sub(first).and_then(|i| self.egress.get(i));
            let room = |e: &&Rc<Egress>| e.waiting.borrow().len() + frame.len() <= WAITING;
            let Some(egress) = egress.filter(room) else {
                self.counts.dropped.fetch_add(1, Relaxed);
                continue;
            };
            let mut out = egress.waiting.borrow_mut();
            if out.is_empty() {
                egress.more.notify_one();
            }
            match layout.patch_snek(frame, &hop.watermark).expect("fits") {
                Patch::InPlace { start } => out.extend_from_slice(&frame[start..]),
                Patch::Grows { by } => {
                    let (from, payload) = (out.len(), layout.payload_range());
                    out.resize(from + payload.start + by, 0);
                    layout
                        .write_snek_head(frame, &hop.watermark, &mut out[from..])
                        .expect("fits");
                    out.extend_from_slice(&frame[payload]);
                }
            }
            egress.frames.set(egress.frames.get() + 1);
        }
        self.queries.clear();
    }
}
