//! The features of this kernel's io_uring, found by trying them, since version numbers are not
//! reliable.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Resource, getrlimit};

use super::buffer_ring::GROUP;
use super::request::SEND_VECTORIZED;
use crate::DataPlaneOptions;
use crate::engine::poller::SharedPoller;

/// Number of entries of the completion queue for each entry of the submission queue.
const CQ_ENTRIES: u32 = 8;
/// The time for which a kernel thread looks for requests before it sleeps.
const SQPOLL_IDLE_MS: u32 = 100;

/// The optional parts of io_uring in use.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    /// The way in which the ring was set up.
    pub(crate) setup: Setup,
    /// The number of slots, from the first on, whose sockets are registered files.
    pub(crate) fixed_files: u32,
    /// True if one SEND takes many pieces; otherwise SENDMSG does.
    pub(crate) vectored_send: bool,
    /// True if a multishot receive can be limited in how much it takes at once.
    pub(crate) receive_cap: bool,
    /// True if sleeping workers are woken by messages between rings.
    pub(crate) messages: bool,
    /// Size in bytes from which drains are sent without a copy.
    pub(crate) zero_copy: Option<usize>,
    /// The options that are not available, and the reasons.
    pub(crate) denied: Vec<String>,
}

/// Ways to set up a ring, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// A kernel thread on this core takes requests and runs completions.
    Polled(u32),
    /// Completions run when the worker asks for them, and there is no indirection array.
    DeferNoArray,
    /// Completions run when the worker asks for them.
    Defer,
    /// Completions run when the worker enters the kernel.
    Cooperative,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |on: bool, name: &'static str, off: &'static str| if on { name } else { off };
        match self.setup {
            Setup::Polled(core) => write!(f, "kernel thread on core {core}")?,
            Setup::DeferNoArray => f.write_str("deferred task work without index array")?,
            Setup::Defer => f.write_str("deferred task work")?,
            Setup::Cooperative => f.write_str("cooperative task work")?,
        }
        write!(
            f,
            ", {}, {}, {}, {}",
            part(
                self.fixed_files > 0,
                "registered files",
                "plain descriptors"
            ),
            part(self.vectored_send, "vectored send", "sendmsg"),
            part(
                self.receive_cap,
                "capped multishot receive",
                "multishot receive"
            ),
            part(self.messages, "messages between rings", "eventfds"),
        )?;
        if let Some(bytes) = self.zero_copy {
            write!(f, ", drains of {bytes} bytes and more without a copy")?;
        }
        (self.denied.iter()).try_for_each(|denied| write!(f, ", {denied}"))
    }
}

/// Adds the limit on locked memory to an error about memory, as a low limit is its usual cause.
pub(super) fn name_limit(error: io::Error) -> io::Error {
    let limit = getrlimit(Resource::Memlock).current;
    match limit {
        Some(bytes) if error.raw_os_error() == Some(libc::ENOMEM) => io::Error::new(
            error.kind(),
            format!(
                "{error}: the limit on locked memory is {} KiB, raise it (ulimit -l, LimitMEMLOCK=)",
                bytes / 1024
            ),
        ),
        _ => error,
    }
}

/// Builds the best ring that the kernel allows. Also returns the options that are not available.
pub(super) fn build_ring(
    options: &DataPlaneOptions,
    poller: &SharedPoller,
) -> io::Result<(IoUring, Setup, Vec<String>)> {
    let (sq, cq) = (options.ring_entries, options.ring_entries * CQ_ENTRIES);
    let mut denied = Vec::new();
    if let Some(core) = options.sqpoll {
        match build_polled(sq, cq, core as u32, poller) {
            Ok(ring) => return Ok((ring, Setup::Polled(core as u32), denied)),
            Err(e) => denied.push(format!("no kernel thread on core {core}: {e}")),
        }
    }
    let mut last = io::Error::from_raw_os_error(libc::ENOSYS);
    let all = [Setup::DeferNoArray, Setup::Defer, Setup::Cooperative];
    for setup in all.into_iter().skip(usize::from(options.baseline)) {
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(cq)
            .setup_submit_all()
            .setup_coop_taskrun();
        if setup != Setup::Cooperative {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        if setup == Setup::DeferNoArray {
            builder.setup_no_sqarray();
        }
        if options.busy_poll.is_some() {
            // Lets a busy-polling worker see pending work without a system call.
            builder.setup_taskrun_flag();
        }
        match builder.build(sq) {
            Ok(ring) => return Ok((ring, setup, denied)),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Builds a ring with a kernel thread: a new one for the first worker, which others share.
fn build_polled(sq: u32, cq: u32, core: u32, poller: &SharedPoller) -> io::Result<IoUring> {
    let mut first = poller.lock();
    let mut builder = IoUring::builder();
    builder
        .setup_cqsize(cq)
        .setup_submit_all()
        .setup_sqpoll(SQPOLL_IDLE_MS)
        .setup_sqpoll_cpu(core);
    if let Some(first) = &*first {
        builder.setup_attach_wq(first.as_raw_fd());
    }
    let ring = builder.build(sq)?;
    if first.is_none() {
        // SAFETY: the ring lives until the end of this function at least.
        let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
        *first = Some(fd.try_clone_to_owned()?);
    }
    Ok(ring)
}

/// Limits what a multishot receive takes before it ends, so that one socket cannot take all buffers at
/// once. The io-uring crate does not expose the field.
pub(super) fn set_receive_cap(request: &mut squeue::Entry, bytes: u32) {
    const OPTLEN_AT: usize = 44;
    const { assert!(size_of::<squeue::Entry>() == 64) };
    // SAFETY: the entry is `repr(C)` around the kernel's 64-byte request, whose bytes 44..48 are the
    // union of plain integers that `optlen` is one of; they lie inside it and are aligned for a u32.
    unsafe {
        (&raw mut *request)
            .cast::<u8>()
            .add(OPTLEN_AT)
            .cast::<u32>()
            .write(bytes)
    };
}

impl Features {
    /// Tries the optional features on a fresh ring, which has no other requests.
    pub(super) fn probe(
        ring: &mut IoUring,
        setup: Setup,
        mut denied: Vec<String>,
        options: &DataPlaneOptions,
    ) -> io::Result<Self> {
        let (max_ports, baseline) = (options.max_ports as u32, options.baseline);
        // Fails under a low limit on open files; plain descriptors work as well.
        let fixed_files = match ring.submitter().register_files_sparse(max_ports) {
            Ok(()) => max_ports,
            Err(_) => 0,
        };
        multishot_receive(ring)?;
        let vectored_send = !baseline && vectored_send(ring)?;
        let receive_cap = !baseline && receive_cap(ring, options.receive_buffer_bytes)?;
        let messages = !baseline && knows(ring, opcode::MsgRingData::CODE);
        let mut zero_copy = options.zero_copy;
        if zero_copy.is_some() && !knows(ring, opcode::SendMsgZc::CODE) {
            zero_copy = None;
            denied.push("no sends without a copy: this kernel does not support them".to_owned());
        }
        Ok(Self {
            setup,
            fixed_files,
            vectored_send,
            receive_cap,
            messages,
            zero_copy,
            denied,
        })
    }
}

fn knows(ring: &IoUring, code: u8) -> bool {
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).is_ok() && probe.is_supported(code)
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn vectored_send(ring: &mut IoUring) -> io::Result<bool> {
    let (ours, theirs) = pair()?;
    let parts = [b"a", b"b"].map(|b| libc::iovec {
        iov_base: b.as_ptr() as *mut _,
        iov_len: 1,
    });
    let request = opcode::Send::new(
        types::Fd(ours.as_raw_fd()),
        parts.as_ptr().cast(),
        parts.len() as u32,
    )
    .ioprio(SEND_VECTORIZED)
    .flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    .build();
    let result = run(ring, &request)?;
    // A kernel that does not know the flag might send the bytes of the array itself.
    let mut got = [0; 4];
    let n = rustix::net::recv(&theirs, &mut got, rustix::net::RecvFlags::DONTWAIT)
        .map_or(0, |(n, _)| n);
    Ok(result == 2 && got.get(..n) == Some(b"ab"))
}

/// Checks for multishot receives (Linux 6.0), without which the engine does not work. Registered buffer
/// rings are older (5.19).
fn multishot_receive(ring: &mut IoUring) -> io::Result<()> {
    match receive_end(ring, None)? {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

fn receive_cap(ring: &mut IoUring, bytes: usize) -> io::Result<bool> {
    Ok(receive_end(ring, Some(bytes as u32))? == 0)
}

/// Returns the result of a multishot receive from a stream that has ended. It completes at once and
/// takes no buffer.
fn receive_end(ring: &mut IoUring, cap: Option<u32>) -> io::Result<i32> {
    let (ours, theirs) = pair()?;
    drop(theirs);
    let mut request = opcode::RecvMulti::new(types::Fd(ours.as_raw_fd()), GROUP).build();
    if let Some(bytes) = cap {
        set_receive_cap(&mut request, bytes);
    }
    run(ring, &request)
}

/// Runs one request that completes at once. Returns its result.
fn run(ring: &mut IoUring, request: &squeue::Entry) -> io::Result<i32> {
    // SAFETY: the caller owns what the request points to, and waits here for its completion.
    let pushed = unsafe { ring.submission().push(request) };
    pushed.map_err(|_| io::Error::other("submission queue is full"))?;
    loop {
        match ring.submit_and_wait(1) {
            Err(e) if e.raw_os_error() != Some(libc::EINTR) => return Err(e),
            _ => {}
        }
        if let Some(completion) = ring.completion().next() {
            return Ok(completion.result());
        }
    }
}
