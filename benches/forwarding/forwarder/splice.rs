//! A relay that moves pages instead of copying bytes: what `splice` could give a router at the most,
//! one that never looked at what it moves.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::relay::Means;

/// What a pipe holds at the most: as large as one may be without privileges.
const PIPE: usize = 1 << 20;
/// What is moved at a time.
const STEP: usize = 256 << 10;

/// By `splice`, through a pipe each.
pub struct Splicing(Vec<Way>);

struct Way {
    input: TcpStream,
    output: TcpStream,
    into: OwnedFd,
    out_of: OwnedFd,
    /// Bytes in the pipe.
    kept: usize,
}

impl Means for Splicing {
    fn new(inputs: Vec<TcpStream>, outputs: Vec<TcpStream>) -> Self {
        let way = |(input, output)| {
            let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
            let (out_of, into) = pipe_with(flags).expect("a pipe");
            fcntl_setpipe_size(&into, PIPE).expect("a large pipe");
            Way {
                input,
                output,
                into,
                out_of,
                kept: 0,
            }
        };
        Self(inputs.into_iter().zip(outputs).map(way).collect())
    }

    fn input(&self, i: usize) -> &TcpStream {
        &self.0[i].input
    }

    fn output(&self, i: usize) -> &TcpStream {
        &self.0[i].output
    }

    fn pass(&mut self, i: usize) -> io::Result<bool> {
        let way = &mut self.0[i];
        match step(&way.input, &way.into, STEP) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => way.kept += n,
            Err(Errno::AGAIN) => {}
            Err(e) => return Err(e.into()),
        }
        self.drain(i)
    }

    fn drain(&mut self, i: usize) -> io::Result<bool> {
        let way = &mut self.0[i];
        while way.kept > 0 {
            match step(&way.out_of, &way.output, way.kept) {
                Ok(n) => way.kept -= n,
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
