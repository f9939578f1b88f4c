//! A relay that moves pages instead of copying bytes: what `splice` could give a router at the most,
//! one that never looked at what it moves.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::{Account, Forwarder};
use crate::links::{ROUTER_CORE, epoll_of, pin, thread_id, wait};

/// What a pipe holds at the most: as large as one may be without privileges.
const PIPE: usize = 1 << 20;
/// What is moved at a time.
const STEP: usize = 256 << 10;

pub struct Splice {
    stop: Arc<AtomicBool>,
    threads: [u32; 1],
    handle: Option<JoinHandle<()>>,
}

/// A way through: from an input to an output.
struct Way {
    input: TcpStream,
    output: TcpStream,
    into: OwnedFd,
    out_of: OwnedFd,
    /// Bytes in the pipe.
    kept: usize,
}

impl Splice {
    pub fn start(mut inputs: Vec<TcpStream>) -> Result<Self> {
        let outputs = inputs.split_off(inputs.len() / 2);
        let ways = inputs.into_iter().zip(outputs).map(Way::new);
        let ways = ways.collect::<Result<Vec<_>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let handle = std::thread::spawn(move || {
            pin(ROUTER_CORE);
            tell.send(thread_id()).expect("tell");
            relay(ways, &stopped);
        });
        Ok(Self {
            stop,
            threads: [told.recv().context("thread")?],
            handle: Some(handle),
        })
    }
}

impl Forwarder for Splice {
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

impl Drop for Splice {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        drop(self.handle.take().map(JoinHandle::join));
    }
}

impl Way {
    fn new((input, output): (TcpStream, TcpStream)) -> Result<Self> {
        let (out_of, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&into, PIPE).context("a large pipe")?;
        Ok(Self {
            input,
            output,
            into,
            out_of,
            kept: 0,
        })
    }

    /// Moves bytes into the pipe. False at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        match step(&self.input, &self.into, STEP) {
            Ok(n) => {
                self.kept += n;
                Ok(n > 0)
            }
            Err(Errno::AGAIN) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    /// Moves what is in the pipe on, as far as it goes.
    fn drain(&mut self) -> io::Result<()> {
        while self.kept > 0 {
            match step(&self.out_of, &self.output, self.kept) {
                Ok(n) => self.kept -= n,
                Err(Errno::AGAIN) => break,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

fn step(from: impl AsFd, to: impl AsFd, len: usize) -> Result<usize, Errno> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    splice(from, None, to, None, len, flags)
}

/// A connection whose way out is full is not read until it takes more.
fn relay(mut ways: Vec<Way>, stop: &AtomicBool) {
    let epoll = epoll_of(ways.iter().map(|way| &way.input), EventFlags::IN);
    let blocked = epoll_of(ways.iter().map(|way| &way.output), EventFlags::empty());
    // One wait for both: a full way out shows as readiness of the second instance.
    let outer = ways.len();
    epoll::add(
        &epoll,
        &blocked,
        EventData::new_u64(outer as u64),
        EventFlags::IN,
    )
    .expect("epoll add");
    let (mut events, mut writable) = (Vec::new(), Vec::new());
    while !stop.load(Relaxed) {
        wait(&epoll, &mut events, Duration::from_millis(50));
        for event in &events {
            let i = event.data.u64() as usize;
            if i == outer {
                wait(&blocked, &mut writable, Duration::ZERO);
                for event in &writable {
                    let i = event.data.u64() as usize;
                    if ways[i].drain().is_err() {
                        return;
                    }
                    if ways[i].kept == 0 {
                        listen(&blocked, &ways[i].output, i, EventFlags::empty());
                        listen(&epoll, &ways[i].input, i, EventFlags::IN);
                    }
                }
                continue;
            }
            match ways[i].fill() {
                Ok(true) if ways[i].drain().is_ok() => {}
                _ => return,
            }
            if ways[i].kept > 0 {
                listen(&epoll, &ways[i].input, i, EventFlags::empty());
                listen(&blocked, &ways[i].output, i, EventFlags::OUT);
            }
        }
    }
}

fn listen(epoll: &OwnedFd, socket: &TcpStream, i: usize, flags: EventFlags) {
    epoll::modify(epoll, socket, EventData::new_u64(i as u64), flags).expect("epoll modify");
}
