//! Building requests.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

use super::op::Kind;

/// `IORING_SEND_VECTORIZED`, which the io-uring crate does not have: the buffer is an array of iovecs.
pub(super) const SEND_VECTORIZED: u16 = 1 << 5;

/// The way in which requests name a socket.
pub(super) struct Target {
    pub(super) slot: u32,
    pub(super) fd: RawFd,
    pub(super) fixed: bool,
}

impl Target {
    /// Builds a request for the socket by its descriptor, or by its index among the registered ones.
    pub(super) fn entry(
        &self,
        plain: impl FnOnce(types::Fd) -> squeue::Entry,
        fixed: impl FnOnce(types::Fixed) -> squeue::Entry,
    ) -> squeue::Entry {
        if self.fixed {
            fixed(types::Fixed(self.slot))
        } else {
            plain(types::Fd(self.fd))
        }
    }
}

/// Builds a send of these pieces. Uses `message` if the kernel needs it. Both must stay unchanged until it completes.
pub(super) fn send(
    target: &Target,
    pieces: &[libc::iovec],
    message: &mut Option<Box<libc::msghdr>>,
    kind: Kind,
    flags: i32,
    vectored: bool,
) -> squeue::Entry {
    let flags = libc::MSG_NOSIGNAL | flags;
    match pieces {
        [one] if !matches!(kind, Kind::ZeroCopy(_)) => {
            let len = one.iov_len as u32;
            target.entry(
                |fd| {
                    opcode::Send::new(fd, one.iov_base.cast(), len)
                        .flags(flags)
                        .build()
                },
                |fd| {
                    opcode::Send::new(fd, one.iov_base.cast(), len)
                        .flags(flags)
                        .build()
                },
            )
        }
        many if vectored && !matches!(kind, Kind::ZeroCopy(_)) => {
            let (at, len) = (many.as_ptr().cast::<u8>(), many.len() as u32);
            target.entry(
                |fd| {
                    opcode::Send::new(fd, at, len)
                        .ioprio(SEND_VECTORIZED)
                        .flags(flags)
                        .build()
                },
                |fd| {
                    opcode::Send::new(fd, at, len)
                        .ioprio(SEND_VECTORIZED)
                        .flags(flags)
                        .build()
                },
            )
        }
        many => {
            let message = message.get_or_insert_with(|| {
                // SAFETY: msghdr is plain integers and pointers, for which zero is a value.
                Box::new(unsafe { std::mem::zeroed() })
            });
            message.msg_iov = many.as_ptr() as *mut _;
            message.msg_iovlen = many.len() as _;
            let (message, flags): (*const libc::msghdr, _) = (&**message, flags as u32);
            match kind {
                Kind::ZeroCopy(_) => target.entry(
                    |fd| opcode::SendMsgZc::new(fd, message).flags(flags).build(),
                    |fd| opcode::SendMsgZc::new(fd, message).flags(flags).build(),
                ),
                _ => target.entry(
                    |fd| opcode::SendMsg::new(fd, message).flags(flags).build(),
                    |fd| opcode::SendMsg::new(fd, message).flags(flags).build(),
                ),
            }
        }
    }
}
