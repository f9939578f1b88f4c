//! Connections, and helpers for threads and clocks.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;

/// The core of the router's (first) thread, on which nothing else runs.
pub const ROUTER_CORE: usize = 0;
/// The core that generator and sink share.
pub const LOAD_CORE: usize = 1;

/// The requested size of socket buffers, which the kernel doubles. Without a request the kernel grows them
/// to tens of megabytes, and the rates of relay and router then vary by a factor of two.
const SOCKET_BUFFER: usize = 256 << 10;

/// Connections into the router, and as many out of it.
pub struct Links {
    pub inputs: Vec<TcpStream>,
    pub outputs: Vec<TcpStream>,
    /// The router's ends: first those of the inputs, then those of the outputs.
    pub router: Vec<TcpStream>,
}

impl Links {
    pub fn new(peers: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for _ in 0..2 * peers {
            let there =
                TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
            let (here, _) = listener.accept().expect("accept");
            for end in [&here, &there] {
                end.set_nodelay(true).expect("nodelay");
                // Every row uses the same congestion control, the fastest one on loopback.
                rustix::net::sockopt::set_tcp_congestion(end, "cubic").expect("cubic");
                rustix::net::sockopt::set_socket_recv_buffer_size(end, SOCKET_BUFFER)
                    .expect("receive buffer");
                rustix::net::sockopt::set_socket_send_buffer_size(end, SOCKET_BUFFER)
                    .expect("send buffer");
            }
            near.push(here);
            far.push(there);
        }
        let outputs = far.split_off(peers);
        Self {
            inputs: far,
            outputs,
            router: near,
        }
    }
}

/// Creates an epoll instance with all sockets, level-triggered, and makes them non-blocking.
pub fn epoll_of<'a>(
    sockets: impl IntoIterator<Item = &'a TcpStream>,
    flags: epoll::EventFlags,
) -> OwnedFd {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    for (i, socket) in sockets.into_iter().enumerate() {
        socket.set_nonblocking(true).expect("nonblocking");
        epoll::add(&epoll, socket, epoll::EventData::new_u64(i as u64), flags).expect("epoll add");
    }
    epoll
}

/// Waits at most `limit` for events.
pub fn wait(epoll: &OwnedFd, events: &mut Vec<epoll::Event>, limit: Duration) {
    events.clear();
    events.reserve(256);
    let limit = rustix::event::Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: limit.subsec_nanos().into(),
    };
    let _ = epoll::wait(epoll, rustix::buffer::spare_capacity(events), Some(&limit));
}

/// Pins the calling thread to a core, if the machine has it.
pub fn pin(core: usize) {
    let _ = pinecone_dataplane::pin_to_core(core);
}

pub fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// Returns the CPU time that these threads of the process have used.
pub fn cpu_of(threads: &[u32]) -> Duration {
    let of = |thread| {
        let path = format!("/proc/self/task/{thread}/schedstat");
        let text = std::fs::read_to_string(path).expect("schedstat");
        let time = text.split_whitespace().next().expect("CPU time");
        Duration::from_nanos(time.parse().expect("a number"))
    };
    threads.iter().map(of).sum()
}

/// Waits until `done` returns true, at most `limit`. Reports whether it has.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}
