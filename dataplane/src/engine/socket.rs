//! Socket options and states: readiness, TCP's progress, and bounds on the bytes that the kernel may hold back.
#![allow(unsafe_code)]

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SendFlags, Shutdown};

/// Offsets of `tcpi_rtt` and `tcpi_bytes_acked` in `struct tcp_info`, which only grows at its end. The
/// libc crate's struct is too short on some targets.
const RTT_AT: usize = 68;
const BYTES_ACKED_AT: usize = 120;
/// The socket option that bounds the time between two retransmissions (Linux 6.15). The libc crate does
/// not have it.
const TCP_RTO_MAX_MS: libc::c_int = 44;
/// Bounds of that option in milliseconds: the least that the kernel takes, and its default.
const RETRY_MIN_MS: u32 = 1000;
const RETRY_MAX_MS: u32 = 120_000;

/// The state of a TCP connection.
pub(super) struct TcpState {
    /// Number of bytes that the peer has acknowledged.
    pub(super) acked: u64,
    /// The smoothed round-trip time, in microseconds.
    pub(super) rtt_us: u32,
}

/// The readiness of a socket at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// True if bytes, or the end of the stream, wait to be read.
    pub(crate) readable: bool,
    /// True if the socket takes more bytes.
    pub(crate) writable: bool,
}

/// Asks the kernel for the readiness of a socket.
pub(super) fn readiness(stream: &OwnedFd) -> Readiness {
    let mut fds = [PollFd::new(stream, PollFlags::IN | PollFlags::OUT)];
    // Without an answer, the socket counts as not ready.
    let _ = poll(&mut fds, Some(&Timespec::default()));
    let ready = fds[0].revents();
    Readiness {
        readable: ready.contains(PollFlags::IN),
        writable: ready.contains(PollFlags::OUT),
    }
}

/// Reports whether this is a TCP socket.
pub(super) fn is_tcp(stream: &OwnedFd) -> bool {
    let domain = rustix::net::sockopt::socket_domain(stream);
    domain.is_ok_and(|d| d == AddressFamily::INET || d == AddressFamily::INET6)
}

/// Returns the state of the connection, or `None` if it is not a TCP socket.
pub(super) fn tcp_state(stream: &OwnedFd) -> Option<TcpState> {
    let mut info = MaybeUninit::<[u8; BYTES_ACKED_AT + 8]>::zeroed();
    let mut len = size_of::<[u8; BYTES_ACKED_AT + 8]>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `info`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    };
    // SAFETY: any bytes are a value, and all of them were zero before.
    let info = unsafe { info.assume_init() };
    if result != 0 || len as usize != info.len() {
        return None;
    }
    Some(TcpState {
        acked: info.last_chunk().copied().map(u64::from_ne_bytes)?,
        rtt_us: info[RTT_AT..]
            .first_chunk()
            .copied()
            .map(u32::from_ne_bytes)?,
    })
}

/// Makes TCP retransmit often enough that a peering survives several losses in a row: within a second, or within three
/// round trips if these take longer. Has no effect on older kernels.
pub(super) fn retry_soon(stream: &OwnedFd, rtt_us: u32) {
    let most = (rtt_us / 1000)
        .saturating_mul(3)
        .clamp(RETRY_MIN_MS, RETRY_MAX_MS) as libc::c_int;
    set_tcp_option(stream, TCP_RTO_MAX_MS, most);
}

/// Limits the bytes that the kernel takes and cannot send yet, or lifts the limit. Has no effect on sockets other than
/// TCP.
pub(super) fn limit_unsent(stream: &OwnedFd, limit: Option<usize>) {
    // Zero is the system's default.
    let limit = limit.map_or(0, |bytes| {
        libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX)
    });
    set_tcp_option(stream, libc::TCP_NOTSENT_LOWAT, limit);
}

/// Sends the bytes that the socket takes at once. Returns their number.
pub(super) fn send_at_once(stream: &OwnedFd, bytes: &[u8]) -> usize {
    // The next send meets an error again.
    rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0)
}

/// Ends a stream in both directions, even if its descriptor has been duplicated. A reset, which only TCP has, does not
/// wait for an answer of the peer.
pub(super) fn hang_up(stream: &OwnedFd, reset: bool) {
    if reset {
        // Some kernels do not disconnect a socket that is being read from.
        let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        if rustix::net::connect_unspec(stream).is_ok() {
            return;
        }
    }
    // Fails only if the peer has already ended the stream.
    let _ = rustix::net::shutdown(stream, Shutdown::Both);
}

/// Sets an option. Has no effect on a socket or kernel that does not have it.
fn set_tcp_option(stream: &OwnedFd, option: libc::c_int, value: libc::c_int) {
    // SAFETY: the kernel reads one integer, which lives as long as the call.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}
