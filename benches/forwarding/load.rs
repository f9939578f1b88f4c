//! Generator and sink: one thread each, sharing a core.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pinecone_benches::{Random, traffic_frame};
use pinecone_wire::PublicKey;
use rustix::event::epoll;

pub const LINKS: usize = 8;
/// Bytes of frames made for each connection, sent over and over.
const STREAM: usize = 4 << 20;
const WARM_UP: Duration = Duration::from_millis(300);
const CORE: usize = 1;

/// What one run measured.
pub struct Sample {
    pub rate: f64,
    pub cpu_per_frame: f64,
    pub lost: f64,
}

/// Sixteen connections and what to send.
pub struct Load {
    frame_len: usize,
    keys: Vec<PublicKey>,
    streams: Vec<Vec<u8>>,
    inputs: Vec<TcpStream>,
    outputs: Vec<TcpStream>,
    router: Vec<TcpStream>,
}

impl Load {
    /// `routes` keys, the i-th leading to egress `i % LINKS`. With `runs`, each connection sends to
    /// one of eight keys for 32 frames, then to the next.
    pub fn new(size: usize, routes: usize, runs: bool) -> Self {
        let mut random = Random::new(size as u64);
        let mut keys: Vec<_> = (0..routes).map(|_| random.key()).collect();
        keys.iter_mut().for_each(|k| k.0[0] |= 0x80);
        let frame_len = traffic_frame(keys[0], size).expect("fits").len();
        let streams = (0..LINKS)
            .map(|link| {
                let mut stream = Vec::with_capacity(STREAM);
                let mut n = 0;
                while stream.len() + frame_len <= STREAM {
                    let key = if runs {
                        keys[(link + n / 32) % LINKS]
                    } else {
                        keys[random.number() as usize % routes]
                    };
                    stream.extend_from_slice(&traffic_frame(key, size).expect("fits"));
                    n += 1;
                }
                stream
            })
            .collect();
        let (mut inputs, mut outputs, mut router) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..2 * LINKS {
            let (here, there) = connection();
            router.push(here);
            if i < LINKS {
                inputs.push(there)
            } else {
                outputs.push(there)
            }
        }
        Self {
            frame_len,
            keys,
            streams,
            inputs,
            outputs,
            router,
        }
    }

    /// The router's ends: first those frames come from, then those they go to.
    pub fn router_ends(&self) -> Vec<TcpStream> {
        self.router
            .iter()
            .map(|s| s.try_clone().expect("dup"))
            .collect()
    }

    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Runs at full speed for `time`, and measures what reaches the sink and what thread `router` uses.
    pub fn run(self, time: Duration, router: u32) -> Sample {
        let Self {
            frame_len,
            streams,
            inputs,
            outputs,
            ..
        } = self;
        let stop = Arc::new(AtomicBool::new(false));
        let (sent, got) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let generator = {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            std::thread::spawn(move || {
                pin(CORE);
                generate(&inputs, &streams, &stop, &sent);
                inputs
            })
        };
        let sink = {
            let (stop, got) = (Arc::clone(&stop), Arc::clone(&got));
            std::thread::spawn(move || {
                pin(CORE);
                drain(&outputs, &stop, &got);
                outputs
            })
        };
        std::thread::sleep(WARM_UP);
        let (start, bytes, sent_before, cpu) = (
            Instant::now(),
            got.load(Relaxed),
            sent.load(Relaxed),
            cpu_of(router),
        );
        std::thread::sleep(time);
        let (elapsed, bytes) = (start.elapsed(), got.load(Relaxed) - bytes);
        let cpu = cpu_of(router) - cpu;
        let sent = sent.load(Relaxed) - sent_before;
        stop.store(true, Relaxed);
        let frames = bytes as f64 / frame_len as f64;
        let sample = Sample {
            rate: frames / elapsed.as_secs_f64(),
            cpu_per_frame: cpu.as_secs_f64() / frames,
            lost: (1.0 - bytes as f64 / sent as f64).max(0.0),
        };
        drop((generator.join(), sink.join()));
        sample
    }
}

fn generate(inputs: &[TcpStream], streams: &[Vec<u8>], stop: &AtomicBool, sent: &AtomicU64) {
    let epoll = epoll_of(inputs, epoll::EventFlags::OUT);
    let mut at = vec![0; inputs.len()];
    while !stop.load(Relaxed) {
        for i in ready(&epoll) {
            let stream = &streams[i];
            let end = (at[i] + (256 << 10)).min(stream.len());
            match (&inputs[i]).write(&stream[at[i]..end]) {
                Ok(n) => {
                    sent.fetch_add(n as u64, Relaxed);
                    at[i] = (at[i] + n) % stream.len();
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

fn drain(outputs: &[TcpStream], stop: &AtomicBool, got: &AtomicU64) {
    let epoll = epoll_of(outputs, epoll::EventFlags::IN);
    let mut buffer = vec![0; 1 << 20];
    while !stop.load(Relaxed) {
        for i in ready(&epoll) {
            match (&outputs[i]).read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => drop(got.fetch_add(n as u64, Relaxed)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// Level-triggered readiness of all sockets, which become non-blocking.
pub fn epoll_of(sockets: &[TcpStream], flags: epoll::EventFlags) -> std::os::fd::OwnedFd {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    for (i, socket) in sockets.iter().enumerate() {
        socket.set_nonblocking(true).expect("nonblocking");
        epoll::add(&epoll, socket, epoll::EventData::new_u64(i as u64), flags).expect("epoll add");
    }
    epoll
}

/// The sockets that are ready, after at most 50 ms.
pub fn ready(epoll: &std::os::fd::OwnedFd) -> Vec<usize> {
    let mut events = Vec::with_capacity(2 * LINKS);
    let limit = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    let _ = epoll::wait(
        epoll,
        rustix::buffer::spare_capacity(&mut events),
        Some(&limit),
    );
    events.iter().map(|e| e.data.u64() as usize).collect()
}

pub fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).expect("pin");
}

/// CPU time that a thread of this process has used.
fn cpu_of(thread: u32) -> Duration {
    let text =
        std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).expect("schedstat");
    Duration::from_nanos(
        text.split_whitespace()
            .next()
            .expect("ns")
            .parse()
            .expect("number"),
    )
}

/// A loopback connection, with the congestion control that suits loopback. The near end first.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let there = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (here, _) = listener.accept().expect("accept");
    for end in [&here, &there] {
        end.set_nodelay(true).expect("nodelay");
        rustix::net::sockopt::set_tcp_congestion(end, "cubic").expect("cubic");
    }
    (here, there)
}
