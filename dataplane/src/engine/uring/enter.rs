//! Entering the kernel with a ring.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::sync::atomic;
use std::time::{Duration, Instant};

use io_uring::{IoUring, types};

/// The time for which the kernel may report a shortage before that counts as an error.
const SHORTAGE: Duration = Duration::from_secs(10);

const GETEVENTS: u32 = 1 << 0;
const SQ_WAKEUP: u32 = 1 << 1;
const SQ_WAIT: u32 = 1 << 2;
const EXT_ARG: u32 = 1 << 3;
const REGISTERED_RING: u32 = 1 << 4;

/// The name of a ring in the system call. The io-uring crate can use the registered number of a ring
/// only while one submitter lives, which would borrow the ring for good.
pub(super) struct Entrance {
    fd: RawFd,
    flags: u32,
    /// True if a kernel thread takes the requests.
    polled: bool,
    /// The time since which the kernel has reported a shortage.
    short_since: Cell<Option<Instant>>,
}

impl Entrance {
    /// Registers the ring with the calling thread, which alone may enter it afterwards. That saves the kernel a lookup
    /// in the process's table of descriptors each time.
    pub(super) fn new(ring: &IoUring) -> Self {
        #[repr(C)]
        struct Update {
            offset: u32,
            resv: u32,
            data: u64,
        }
        const IORING_REGISTER_RING_FDS: u32 = 20;
        let fd = ring.as_raw_fd();
        let mut update = Update {
            offset: u32::MAX,
            resv: 0,
            data: fd as u64,
        };
        // SAFETY: the argument is one `io_uring_rsrc_update`, laid out as the kernel's, which reads
        // and writes it during the call alone.
        let registered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                fd,
                IORING_REGISTER_RING_FDS,
                &raw mut update,
                1,
            )
        };
        // Fails only if the thread has registered many rings already.
        let (fd, flags) = match registered {
            1 => (update.offset as RawFd, REGISTERED_RING),
            _ => (fd, 0),
        };
        let polled = ring.params().is_setup_sqpoll();
        Self {
            fd,
            flags,
            polled,
            short_since: Cell::new(None),
        }
    }

    /// Submits the queued requests, runs the kernel's pending work, and waits until there are `want` completions or the
    /// time is up.
    pub(super) fn enter(
        &self,
        ring: &mut IoUring,
        want: u32,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let mut flags = self.flags | GETEVENTS;
        if self.polled {
            // Either the thread sees the queued requests, or this worker sees that the thread sleeps.
            atomic::fence(atomic::Ordering::SeqCst);
            if ring.submission().need_wakeup() {
                flags |= SQ_WAKEUP;
            } else if ring.completion().len() >= want as usize && !ring.submission().cq_overflow() {
                return Ok(());
            }
        }
        let submit = ring.submission().len() as u32;
        let result = match timeout.filter(|_| want > 0) {
            None => self.call(submit, want, flags, ptr::null(), 0),
            Some(timeout) => {
                let time = types::Timespec::from(timeout);
                let arguments = types::SubmitArgs::new().timespec(&time);
                self.call(
                    submit,
                    want,
                    flags | EXT_ARG,
                    (&raw const arguments).cast(),
                    size_of_val(&arguments),
                )
            }
        };
        match result {
            Ok(()) => {
                self.short_since.set(None);
                Ok(())
            }
            Err(e) => match e.raw_os_error() {
                // A timeout, or a signal.
                Some(libc::ETIME | libc::EINTR) => Ok(()),
                // Completions must be reaped first, or memory is short at the moment.
                Some(libc::EBUSY | libc::EAGAIN) => {
                    let since = self.short_since.get().unwrap_or_else(Instant::now);
                    self.short_since.set(Some(since));
                    match since.elapsed() < SHORTAGE {
                        true => Ok(()),
                        false => Err(e),
                    }
                }
                _ => Err(e),
            },
        }
    }

    /// Makes room in the submission queue, which is full.
    ///
    /// # Errors
    /// The kernel takes no request, and another try will not change that.
    pub(super) fn make_room(&self, ring: &mut IoUring) -> io::Result<()> {
        self.enter(ring, 0, None)?;
        if self.polled {
            match self.call(0, 0, self.flags | SQ_WAIT, ptr::null(), 0) {
                Err(e) if e.raw_os_error() != Some(libc::EINTR) => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }

    fn call(
        &self,
        submit: u32,
        want: u32,
        flags: u32,
        argument: *const libc::c_void,
        len: usize,
    ) -> io::Result<()> {
        // SAFETY: the descriptor is the ring's, or its number among the rings registered by this
        // thread; what is queued has been vouched for when it was queued; the argument is null, or
        // arguments of this length that live in the caller's frame.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd,
                submit,
                want,
                flags,
                argument,
                len,
            )
        };
        match result {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }
}
