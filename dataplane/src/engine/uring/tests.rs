use std::fs::File;

use rustix::event::{PollFd, PollFlags, poll};

use super::*;

/// Who refuses a message sleeps on, so it is woken by its bell: here because what should be its ring
/// is none, in earnest because its completion queue is full, or the ring about to go.
#[test]
fn who_refuses_a_message_is_woken_by_its_bell() {
    let own = Arc::new(Mailbox::new(2).unwrap());
    let (poller, options) = (SharedPoller::default(), DataPlaneOptions::default());
    let mut engine = Uring::new(own, &poller, &options).unwrap();
    if !engine.features().messages {
        return;
    }
    let sleeper = Arc::new(Mailbox::new(2).unwrap());
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
    assert!(!is_woken(), "before the message was sent");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_woken() {
        assert!(Instant::now() < deadline, "nobody wakes it");
        let timeout = Some(Duration::from_millis(10));
        engine.wait(timeout, None, &mut Vec::new()).unwrap();
    }
}
