//! A relay: what comes in at connection i goes out at connection i, unread.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::event::epoll;

use crate::load::{LINKS, epoll_of, pin, ready};

pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: u32,
    handle: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn start(ends: Vec<TcpStream>, core: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let handle = std::thread::spawn(move || {
            pin(core);
            tell.send(rustix::thread::gettid().as_raw_nonzero().get() as u32)
                .expect("tell");
            relay(&ends[..LINKS], &ends[LINKS..], &stopped);
        });
        Self {
            stop,
            thread: told.recv().expect("thread"),
            handle: Some(handle),
        }
    }

    pub fn thread(&self) -> u32 {
        self.thread
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        drop(self.handle.take().map(JoinHandle::join));
    }
}

/// A connection whose way out is full is left alone until it takes more: it is looked at again with
/// the next one that is ready.
fn relay(inputs: &[TcpStream], outputs: &[TcpStream], stop: &AtomicBool) {
    let input = epoll_of(inputs, epoll::EventFlags::IN);
    let output = epoll_of(outputs, epoll::EventFlags::OUT | epoll::EventFlags::ET);
    let mut buffer = vec![0; 256 << 10];
    let mut kept: Vec<Vec<u8>> = vec![Vec::new(); LINKS];
    while !stop.load(Relaxed) {
        let stuck = kept.iter().filter(|k| !k.is_empty()).count();
        if stuck == LINKS {
            ready(&output);
        }
        for i in ready(&input) {
            if !kept[i].is_empty() {
                match (&outputs[i]).write(&kept[i]) {
                    Ok(n) => drop(kept[i].drain(..n)),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
                continue;
            }
            let n = match (&inputs[i]).read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => return,
            };
            let sent = match (&outputs[i]).write(&buffer[..n]) {
                Ok(sent) => sent,
                Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return,
            };
            kept[i].extend_from_slice(&buffer[sent..n]);
        }
    }
}
