//! A relay: what comes in at connection i goes out at connection i, unread.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::{Account, Forwarder};
use crate::links::{ROUTER_CORE, epoll_of, pin, thread_id, wait};

const BUFFER: usize = 256 << 10;

pub struct Relay {
    stop: Arc<AtomicBool>,
    threads: [u32; 1],
    handle: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn start(ends: Vec<TcpStream>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let handle = std::thread::spawn(move || {
            pin(ROUTER_CORE);
            tell.send(thread_id()).expect("tell");
            relay(ends, &stopped);
        });
        Self {
            stop,
            threads: [told.recv().expect("thread")],
            handle: Some(handle),
        }
    }
}

impl Forwarder for Relay {
    fn threads(&self) -> &[u32] {
        &self.threads
    }

    fn account(&self) -> Option<Account> {
        None
    }

    fn routes(&self) -> bool {
        false
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        drop(self.handle.take().map(JoinHandle::join));
    }
}

/// A connection whose way out is full is not read until it takes more.
fn relay(mut inputs: Vec<TcpStream>, stop: &AtomicBool) {
    let outputs = inputs.split_off(inputs.len() / 2);
    let epoll = epoll_of(&inputs, EventFlags::IN);
    let blocked = epoll_of(&outputs, EventFlags::empty());
    // One wait for both: a full way out shows as readiness of the second instance.
    let outer = outputs.len() as u64;
    epoll::add(&epoll, &blocked, EventData::new_u64(outer), EventFlags::IN).expect("epoll add");
    let mut buffer = vec![0; BUFFER];
    // What a way out has refused, and how much of that has gone since.
    let mut kept: Vec<(Vec<u8>, usize)> = vec![(Vec::new(), 0); outputs.len()];
    let (mut events, mut writable) = (Vec::new(), Vec::new());
    while !stop.load(Relaxed) {
        wait(&epoll, &mut events, Duration::from_millis(50));
        for event in &events {
            let i = event.data.u64() as usize;
            if i == outputs.len() {
                wait(&blocked, &mut writable, Duration::ZERO);
                for event in &writable {
                    let i = event.data.u64() as usize;
                    let (bytes, gone) = &mut kept[i];
                    match (&outputs[i]).write(&bytes[*gone..]) {
                        Ok(n) => *gone += n,
                        Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                        Err(_) => return,
                    }
                    if *gone == bytes.len() {
                        bytes.clear();
                        *gone = 0;
                        listen(&blocked, &outputs[i], i, EventFlags::empty());
                        listen(&epoll, &inputs[i], i, EventFlags::IN);
                    }
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
            if sent < n {
                kept[i].0.extend_from_slice(&buffer[sent..n]);
                listen(&epoll, &inputs[i], i, EventFlags::empty());
                listen(&blocked, &outputs[i], i, EventFlags::OUT);
            }
        }
    }
}

fn listen(epoll: &OwnedFd, socket: &TcpStream, i: usize, flags: EventFlags) {
    epoll::modify(epoll, socket, EventData::new_u64(i as u64), flags).expect("epoll modify");
}
