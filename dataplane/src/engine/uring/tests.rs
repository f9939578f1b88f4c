use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use rustix::event::{PollFd, PollFlags, poll};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use super::*;

/// A worker is woken through its eventfd if MSG_RING fails. Here it fails because the target is not a ring; in
/// practice, because the target's completion queue is full or the ring is being closed.
#[test]
fn a_failed_message_wakes_the_worker_through_its_eventfd() {
    let own = Arc::new(Mailbox::new(2, 16).unwrap());
    let (poller, options) = (SharedPoller::default(), DataPlaneOptions::default());
    let mut engine = Uring::new(own, &poller, &options).unwrap();
    if !engine.features.messages {
        return;
    }
    let sleeper = Arc::new(Mailbox::new(2, 16).unwrap());
    sleeper
        .bell
        .set_io_uring(File::open("/dev/null").unwrap().into());
    let is_woken = || {
        let mut fds = [PollFd::from_borrowed_fd(
            sleeper.bell.descriptor(),
            PollFlags::IN,
        )];
        poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap() == 1
    };
    engine.wake(1, &sleeper);
    assert!(
        !is_woken(),
        "the worker is woken before the message is sent"
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_woken() {
        assert!(Instant::now() < deadline, "the worker is never woken");
        let timeout = Some(Duration::from_millis(10));
        engine.wait(wait(timeout), &mut Vec::new()).unwrap();
    }
}

fn wait(timeout: Option<Duration>) -> Wait {
    Wait {
        timeout,
        batch: None,
        enough: 1 << 20,
        polls: true,
    }
}

fn engine() -> Uring {
    let own = Arc::new(Mailbox::new(2, 16).unwrap());
    let (poller, options) = (SharedPoller::default(), DataPlaneOptions::default());
    Uring::new(own, &poller, &options).unwrap()
}

/// Makes a system call fail for the calling thread.
fn forbid(call: i64, error: i32) {
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, Vec::new())]),
        SeccompAction::Allow,
        SeccompAction::Errno(error as u32),
        TargetArch::try_from(std::env::consts::ARCH).unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&program).unwrap();
}

#[test]
fn a_queue_that_the_kernel_does_not_take_is_an_error_and_no_loop() {
    let (done, over) = mpsc::channel();
    std::thread::spawn(move || {
        let mut engine = engine();
        forbid(libc::SYS_io_uring_enter, libc::EPERM);
        for _ in 0..=DataPlaneOptions::default().ring_entries {
            engine.arm_bell();
        }
        let result = engine.wait(wait(Some(Duration::ZERO)), &mut Vec::new());
        done.send(result.map_err(|e| e.raw_os_error())).unwrap();
    });
    let result = over.recv_timeout(Duration::from_secs(20));
    assert_eq!(result, Ok(Err(Some(libc::EPERM))));
}

#[test]
fn a_port_that_cannot_be_registered_leaves_its_slot() {
    std::thread::spawn(|| {
        let mut engine = engine();
        if engine.features.fixed_files == 0 {
            println!("skipped: no registered files here");
            return;
        }
        forbid(libc::SYS_io_uring_register, libc::ENOMEM);
        for _ in 0..3 {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            assert!(engine.add(ours.into()).is_err());
        }
        assert_eq!((engine.slots.len(), &engine.free[..]), (1, &[0][..]));
    })
    .join()
    .unwrap();
}
