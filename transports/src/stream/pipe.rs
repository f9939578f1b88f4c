//! Socket pairs.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// Returns two connected stream sockets in blocking mode, for a peering between two nodes of a process
/// or as the ends of a relay. No handshake is performed over them.
///
/// # Errors
/// The process is out of descriptors, or the system of memory.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?)
}
