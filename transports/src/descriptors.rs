//! A reserve of file descriptors.
//!
//! A peering takes a descriptor for as long as it lasts. Inbound connections and dials stop before the
//! last descriptor is taken, so that the admin socket, lookups and files still work. Dials stop
//! earlier, so that a long list of static peers leaves room for inbound connections.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// The use of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Dial,
    Inbound,
}

impl Purpose {
    /// Returns the number of descriptors that must stay free.
    fn reserve(self, limit: u64) -> u64 {
        let inbound = (limit / 8).clamp(4, 32);
        match self {
            Self::Inbound => inbound,
            Self::Dial => 2 * inbound,
        }
    }
}

/// Returns the number of further inbound peerings that the limit on open files leaves room for, or `None` if there is
/// no limit or the number of open files is unknown.
///
/// The last one needs a second descriptor during its handshake.
#[must_use]
pub fn room_for_peerings() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile).current?;
    // One of the entries is the descriptor that reads the directory.
    let open = fs::read_dir("/proc/self/fd").ok()?.count() as u64 - 1;
    let taken = open + Purpose::Inbound.reserve(limit) + 1;
    Some(limit.saturating_sub(taken))
}

/// Fails if a new descriptor is part of the reserve.
///
/// The system hands out the lowest free number, so all numbers below that of a new descriptor are in
/// use.
pub(crate) fn check(descriptor: impl AsFd, purpose: Purpose) -> io::Result<()> {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return Ok(());
    };
    let number = u64::try_from(descriptor.as_fd().as_raw_fd()).unwrap_or(0);
    if number < limit.saturating_sub(purpose.reserve(limit)) {
        return Ok(());
    }
    Err(Errno::MFILE.into())
}

/// Returns the number of inbound streams that may be handshaking. Each takes two descriptors, together
/// a quarter of all, so that silent hosts leave some to others.
pub(crate) fn handshakes() -> usize {
    match getrlimit(Resource::Nofile).current {
        Some(limit) => usize::try_from(limit / 8).unwrap_or(usize::MAX).max(4),
        None => usize::MAX,
    }
}

/// Reports whether a dial would get a descriptor now.
pub(crate) fn has_room_for_dial() -> bool {
    let probe = File::open("/dev/null");
    probe.is_ok_and(|probe| check(probe, Purpose::Dial).is_ok())
}

/// Reports whether `error` is a shortage of descriptors, found by [`check`] or by the system.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| [Errno::MFILE, Errno::NFILE].contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dials_leave_descriptors_to_inbound_connections() {
        for limit in [64, 128, 1024, 20_000] {
            let inbound = Purpose::Inbound.reserve(limit);
            let dials = Purpose::Dial.reserve(limit);
            assert!(0 < inbound && inbound < dials && dials <= limit / 4);
        }
    }

    #[test]
    fn only_high_numbers_are_in_the_reserve() {
        let file = std::fs::File::open("/dev/null").unwrap();
        check(&file, Purpose::Dial).unwrap();
        let limit = getrlimit(Resource::Nofile).current.unwrap();
        let last = i32::try_from(limit - 1).unwrap();
        let high = rustix::io::fcntl_dupfd_cloexec(&file, last).unwrap();
        for purpose in [Purpose::Dial, Purpose::Inbound] {
            let error = check(&high, purpose).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        }
    }
}
