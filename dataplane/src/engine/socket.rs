//! What the kernel knows of a socket, and how much it may hold back.
#![allow(unsafe_code)]

use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SendFlags};

/// Where `tcpi_bytes_acked` is in `struct tcp_info`, which only grows at its end. The libc crate's
/// does not reach so far on every target.
const BYTES_ACKED_AT: usize = 120;

/// Whether it is a TCP socket.
pub(super) fn is_tcp(stream: &OwnedFd) -> bool {
    let domain = rustix::net::sockopt::socket_domain(stream);
    domain.is_ok_and(|d| d == AddressFamily::INET || d == AddressFamily::INET6)
}

/// How many bytes the peer has acknowledged so far; nothing if it is no TCP socket.
pub(super) fn bytes_acked(stream: &OwnedFd) -> Option<u64> {
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
    let acked = info.last_chunk().copied().map(u64::from_ne_bytes);
    acked.filter(|_| result == 0 && len as usize == info.len())
}

/// Limits the bytes that the kernel takes and cannot send yet, or lifts the limit. Without effect if
/// it is no TCP socket.
pub(super) fn limit_unsent(stream: &OwnedFd, limit: Option<usize>) {
    // Zero is the system's own.
    let limit = limit.map_or(0, |bytes| {
        libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX)
    });
    // SAFETY: the kernel reads one integer, which lives as long as the call.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const limit).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

/// Sends what the socket takes now; returns how many bytes that is.
pub(super) fn send_at_once(stream: &OwnedFd, bytes: &[u8]) -> usize {
    // An error comes again with the next send.
    rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0)
}
