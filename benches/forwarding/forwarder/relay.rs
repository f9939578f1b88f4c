//! A relay, which moves the bytes of each connection in to the connection out with the same index.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::account::{Account, Forwarder};
use crate::links::{ROUTER_CORE, epoll_of, pin, thread_id, wait};

const BUFFER: usize = 256 << 10;

pub struct Relay {
    stop: Arc<AtomicBool>,
    threads: [u32; 1],
    handle: Option<JoinHandle<()>>,
}

/// The method by which bytes get from an input to its output.
pub trait Transfer {
    fn new(inputs: Vec<TcpStream>, outputs: Vec<TcpStream>) -> Self;

    fn input(&self, i: usize) -> &TcpStream;
    fn output(&self, i: usize) -> &TcpStream;

    /// Moves bytes that have arrived. Returns false if the output is full.
    fn pass(&mut self, i: usize) -> io::Result<bool>;

    /// Moves bytes that the output had no room for. Returns false if it is still full.
    fn drain(&mut self, i: usize) -> io::Result<bool>;
}

/// Transfer by `read` and `write`.
pub struct Copying {
    inputs: Vec<TcpStream>,
    outputs: Vec<TcpStream>,
    buffer: Vec<u8>,
    /// Bytes that an output had no room for, and how many of them have been written since.
    kept: Vec<(Vec<u8>, usize)>,
}

impl Relay {
    pub fn start<M: Transfer>(mut inputs: Vec<TcpStream>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let handle = std::thread::spawn(move || {
            pin(ROUTER_CORE);
            tell.send(thread_id()).expect("tell");
            let outputs = inputs.split_off(inputs.len() / 2);
            let count = outputs.len();
            // Ends when the first connection is closed.
            let _ = relay(M::new(inputs, outputs), count, &stopped);
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

/// Moves bytes until told to stop. An input whose output is full is not read.
fn relay(mut transfer: impl Transfer, count: usize, stop: &AtomicBool) -> io::Result<()> {
    let epoll = epoll_of((0..count).map(|i| transfer.input(i)), EventFlags::IN);
    let blocked = epoll_of((0..count).map(|i| transfer.output(i)), EventFlags::empty());
    // One wait for both: an output that has room again makes the second instance ready.
    let outer = count as u64;
    epoll::add(&epoll, &blocked, EventData::new_u64(outer), EventFlags::IN)?;
    let (mut events, mut writable) = (Vec::new(), Vec::new());
    while !stop.load(Relaxed) {
        wait(&epoll, &mut events, Duration::from_millis(50));
        for event in &events {
            let i = event.data.u64() as usize;
            if i < count {
                if !transfer.pass(i)? {
                    listen(&epoll, transfer.input(i), i, EventFlags::empty());
                    listen(&blocked, transfer.output(i), i, EventFlags::OUT);
                }
                continue;
            }
            wait(&blocked, &mut writable, Duration::ZERO);
            for event in &writable {
                let i = event.data.u64() as usize;
                if transfer.drain(i)? {
                    listen(&blocked, transfer.output(i), i, EventFlags::empty());
                    listen(&epoll, transfer.input(i), i, EventFlags::IN);
                }
            }
        }
    }
    Ok(())
}

impl Transfer for Copying {
    fn new(inputs: Vec<TcpStream>, outputs: Vec<TcpStream>) -> Self {
        Self {
            buffer: vec![0; BUFFER],
            kept: vec![(Vec::new(), 0); outputs.len()],
            inputs,
            outputs,
        }
    }

    fn input(&self, i: usize) -> &TcpStream {
        &self.inputs[i]
    }

    fn output(&self, i: usize) -> &TcpStream {
        &self.outputs[i]
    }

    fn pass(&mut self, i: usize) -> io::Result<bool> {
        let n = match (&self.inputs[i]).read(&mut self.buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(e) => return Err(e),
        };
        let sent = write(&self.outputs[i], &self.buffer[..n])?;
        self.kept[i].0.extend_from_slice(&self.buffer[sent..n]);
        Ok(sent == n)
    }

    fn drain(&mut self, i: usize) -> io::Result<bool> {
        let (bytes, gone) = &mut self.kept[i];
        *gone += write(&self.outputs[i], &bytes[*gone..])?;
        let all = *gone == bytes.len();
        if all {
            bytes.clear();
            *gone = 0;
        }
        Ok(all)
    }
}

/// Writes as much as the socket takes.
fn write(mut output: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match output.write(bytes) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}

fn listen(epoll: &OwnedFd, socket: &TcpStream, i: usize, flags: EventFlags) {
    epoll::modify(epoll, socket, EventData::new_u64(i as u64), flags).expect("epoll modify");
}
