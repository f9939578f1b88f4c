//! A relay that moves pages instead of copying bytes: an upper bound for the gain of `splice` in a router, as it parses
//! no frame.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::relay::Transfer;

/// Size of a pipe, the largest without privileges.
const PIPE: usize = 1 << 20;
/// Bytes that are moved at a time.
const STEP: usize = 256 << 10;

/// Transfer by `splice`, with a pipe for each connection.
pub struct Splicing(Vec<Channel>);

struct Channel {
    input: TcpStream,
    output: TcpStream,
    into: OwnedFd,
    out_of: OwnedFd,
    /// Bytes in the pipe.
    kept: usize,
}

impl Transfer for Splicing {
    fn new(inputs: Vec<TcpStream>, outputs: Vec<TcpStream>) -> Self {
        let channel = |(input, output)| {
            let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
            let (out_of, into) = pipe_with(flags).expect("a pipe");
            fcntl_setpipe_size(&into, PIPE).expect("a large pipe");
            Channel {
                input,
                output,
                into,
                out_of,
                kept: 0,
            }
        };
        Self(inputs.into_iter().zip(outputs).map(channel).collect())
    }

    fn input(&self, i: usize) -> &TcpStream {
        &self.0[i].input
    }

    fn output(&self, i: usize) -> &TcpStream {
        &self.0[i].output
    }

    fn pass(&mut self, i: usize) -> io::Result<bool> {
        let channel = &mut self.0[i];
        match step(&channel.input, &channel.into, STEP) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => channel.kept += n,
            Err(Errno::AGAIN) => {}
            Err(e) => return Err(e.into()),
        }
        self.drain(i)
    }

    fn drain(&mut self, i: usize) -> io::Result<bool> {
        let channel = &mut self.0[i];
        while channel.kept > 0 {
            match step(&channel.out_of, &channel.output, channel.kept) {
                Ok(n) => channel.kept -= n,
                Err(Errno::AGAIN) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }
}

fn step(from: impl AsFd, to: impl AsFd, len: usize) -> Result<usize, Errno> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    splice(from, None, to, None, len, flags)
}
