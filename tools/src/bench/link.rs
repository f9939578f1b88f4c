//! A real peering with the node under test: a socket, and a control plane that handles protocol frames
//! between the frames of the load.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pinecone_controlplane::{Config, ControlPlane, Effect, NewPeer, Now};
use pinecone_dataplane::{LinkType, PortId};
use pinecone_fib::FibWriter;
use pinecone_load::FrameBuffer;
use pinecone_transports::PeerUri;
use pinecone_wire::frame::{HEADER_LEN, KEEPALIVE};
use pinecone_wire::timing::{CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT};
use pinecone_wire::timing::{KEEPALIVE_INTERVAL, PEER_TIMEOUT, WRITE_TIMEOUT};
use pinecone_wire::{FrameError, FrameType, HANDSHAKE_LEN, MAX_FRAME_LEN};
use pinecone_wire::{PublicKey, SecretKey, Split};
use pinecone_wire::{handshake, split};
use rustix::net::{RecvFlags, sockopt};

use crate::failure::Failure;

/// Bytes of a read at most.
const READ: usize = 256 << 10;
/// Timeout of blocking calls, so that other work gets done.
const BLOCKING_LIMIT: Duration = Duration::from_millis(50);
/// Receive buffer of a sink, for the time that its thread does not run: the largest TCP window.
const RECEIVE_BUFFER: usize = 8 << 20;
/// The number of bytes read below which a link in bulk mode pauses.
const BULK: usize = 128 << 10;
const PILE_UP: Duration = Duration::from_micros(100);
/// Bytes of a read when the rest may be skipped.
const SAMPLE: usize = 16 << 10;
/// The least number of bytes that is skipped.
const SKIP_MIN: usize = 32 << 10;
const TRAFFIC: u8 = FrameType::Traffic.byte();
/// A keepalive is sent a little before it is due.
const KEEPALIVE_AFTER: Duration = KEEPALIVE_INTERVAL.saturating_sub(Duration::from_millis(500));
/// A node that is busy with the load of the bench gets twice the time that the protocol gives a silent peer.
const SILENCE_LIMIT: Duration = PEER_TIMEOUT.saturating_mul(2);

/// A peering. Dropping it closes it.
pub(crate) struct Link {
    /// The address as given on the command line.
    pub(crate) address: String,
    /// The node's key.
    pub(crate) node: PublicKey,
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    stream: TcpStream,
    plane: ControlPlane,
    port: PortId,
    start: Instant,
    last_read: Duration,
    last_write: Duration,
    input: FrameBuffer,
    /// The length of the last traffic frame.
    frame_len: usize,
    bulk: bool,
    /// True if reads are small because the rest may be skipped.
    pub(crate) sampling: bool,
    /// True if the last read returned few bytes.
    small: bool,
    /// True if bytes were skipped, so that the next bytes may not begin with a frame.
    skipped: bool,
    output: Vec<u8>,
}

/// The place of a link in the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The root that the link's control plane follows.
    pub(crate) root: PublicKey,
    /// True if the node has announced itself.
    pub(crate) announced: bool,
    /// True if the link has bootstrapped, or never will because it is the root.
    pub(crate) joined: bool,
}

impl Link {
    /// Connects to a node and performs the handshake. All times are relative to `start`.
    pub(crate) fn connect(
        address: &PeerUri,
        key: SecretKey,
        start: Instant,
    ) -> Result<Self, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::runtime(format!("{address}: {e}"));
        let (stream, remote) = connect(address)?;
        let local = stream.local_addr().map_err(|e| failed(&e))?;
        let theirs = shake_hands(&stream, &key).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => failed(
                &"closed the connection during the handshake: it is not a Pinecone node, or it is full",
            ),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => failed(&format!(
                "no handshake within {} s: is it a Pinecone node?",
                HANDSHAKE_TIMEOUT.as_secs()
            )),
            _ => failed(&e),
        })?;
        let theirs = handshake::decode(&theirs).map_err(|e| failed(&e))?;
        stream
            .set_read_timeout(Some(BLOCKING_LIMIT))
            .and_then(|()| stream.set_write_timeout(Some(BLOCKING_LIMIT)))
            .map_err(|e| failed(&e))?;
        let config = Config {
            wakeup_broadcasts: false,
            ..Config::default()
        };
        let (fib, _) = FibWriter::new(key.public_key());
        let mut plane = ControlPlane::new(config, key, fib);
        let now = now(start);
        let peer = NewPeer::new(theirs.public_key, LinkType::Remote);
        let port = plane.connect(now, peer).map_err(|e| failed(&e))?;
        Ok(Self {
            address: address.to_string(),
            node: theirs.public_key,
            remote,
            local,
            stream,
            plane,
            port,
            start,
            last_read: now.monotonic,
            last_write: now.monotonic,
            input: FrameBuffer::new(READ + MAX_FRAME_LEN),
            frame_len: 0,
            bulk: false,
            sampling: false,
            small: false,
            skipped: false,
            output: Vec::new(),
        })
    }

    /// Requests a large receive buffer, so that the node does not drop frames while a sink waits for a
    /// core. Needs root; without it, the buffer stays as it is.
    pub(crate) fn widen(&self) {
        let asked = sockopt::set_socket_recv_buffer_size_force(&self.stream, RECEIVE_BUFFER);
        if let Err(error) = asked {
            tracing::debug!(%error, "cannot enlarge the receive buffer");
        }
    }

    /// Lets bytes accumulate if few arrive at a time, at the cost of latency.
    pub(crate) fn read_in_bulk(&mut self) {
        self.bulk = true;
    }

    /// Returns the key of this link.
    pub(crate) fn key(&self) -> PublicKey {
        self.plane.public_key()
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn place(&self) -> Place {
        let status = self.plane.status();
        let announced = self.plane.peers().iter().any(|peer| peer.root.is_some());
        let is_root = announced && status.parent.is_none() && !status.waiting;
        Place {
            root: status.root,
            announced,
            joined: is_root || self.plane.counters().bootstraps_sent > 0,
        }
    }

    /// Waits for bytes, at most for [`BLOCKING_LIMIT`], and passes each traffic frame to `traffic` with the
    /// time at which it was read.
    ///
    /// # Errors
    /// Returns the reason if the peering has ended.
    pub(crate) fn receive(&mut self, traffic: impl FnMut(&[u8], Duration)) -> Result<(), String> {
        if self.bulk && self.small {
            std::thread::sleep(PILE_UP);
        }
        let most = match self.sampling {
            // Enough for at least one frame.
            true => SAMPLE.max(2 * self.frame_len),
            false => usize::MAX,
        };
        let read = (&self.stream).read(self.input.free_space(most));
        self.small = read.as_ref().is_ok_and(|read| *read < BULK);
        self.take(read, traffic)
    }

    /// Handles the bytes that have already arrived. Discards traffic frames.
    ///
    /// # Errors
    /// Returns the reason if the peering has ended.
    pub(crate) fn poll(&mut self) -> Result<(), String> {
        let space = self.input.free_space(usize::MAX);
        let read = rustix::net::recv(&self.stream, space, RecvFlags::DONTWAIT);
        self.take(read.map(|(n, _)| n).map_err(Into::into), |_, _| {})
    }

    /// Discards whole frames that wait in the socket after [`Self::receive`], without reading them, if there
    /// are many. Returns their number.
    ///
    /// Assumes traffic frames of the same length as the last one. If there was a protocol frame among them,
    /// the discarded bytes end within a frame, and the next frame boundary is searched for.
    ///
    /// # Errors
    /// Returns the reason if the peering has ended.
    pub(crate) fn skip(&mut self) -> Result<u64, String> {
        let begun = self.input.bytes();
        // If the beginning of a frame has been read, its end must be known.
        let missing = match split(begun) {
            Ok(Split::Missing(_)) if begun.is_empty() => 0,
            Ok(Split::Missing(missing))
                if begun.len() >= HEADER_LEN && begun.get(5) == Some(&TRAFFIC) =>
            {
                missing
            }
            _ => return Ok(0),
        };
        let waiting = rustix::io::ioctl_fionread(&self.stream).unwrap_or(0) as usize;
        let Some(whole) = waiting
            .checked_sub(missing)
            .and_then(|rest| rest.checked_div(self.frame_len))
            .filter(|frames| frames * self.frame_len >= SKIP_MIN)
        else {
            return Ok(0);
        };
        self.input.clear();
        let mut rest = missing + whole * self.frame_len;
        while rest > 0 {
            let space = self.input.free_space(rest);
            // On TCP, this discards bytes without copying them.
            match rustix::net::recv(&self.stream, space, RecvFlags::TRUNC) {
                Ok((_, 0)) => return Err(self.ended(&"the node closed the connection")),
                Ok((_, n)) => rest -= n.min(rest),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(e) => return Err(self.ended(&e)),
            }
        }
        self.skipped = true;
        self.small = whole * self.frame_len < BULK;
        Ok(whole as u64 + u64::from(missing > 0))
    }

    /// Runs the control plane and sends its frames. Call it at a frame boundary only.
    ///
    /// # Errors
    /// Returns the reason if the peering has ended.
    pub(crate) fn tend(&mut self) -> Result<(), String> {
        let now = now(self.start);
        if self
            .plane
            .next_deadline()
            .is_some_and(|due| due <= now.monotonic)
        {
            self.plane.tick(now);
        }
        self.plane.publish();
        while let Some(effect) = self.plane.poll_effect() {
            match effect {
                Effect::Send { frame, .. } => self.output.extend_from_slice(&frame),
                Effect::Close { reason, .. } => {
                    return Err(format!(
                        "the bench closed the peering with {}: {reason}",
                        self.address
                    ));
                }
                Effect::Event(_) => {}
            }
        }
        if self.output.is_empty() && now.monotonic >= self.last_write + KEEPALIVE_AFTER {
            self.output.extend_from_slice(&KEEPALIVE);
        }
        if now.monotonic >= self.last_read + SILENCE_LIMIT {
            return Err(format!(
                "{} has been silent for {} s",
                self.address,
                SILENCE_LIMIT.as_secs()
            ));
        }
        if !self.output.is_empty() {
            let output = std::mem::take(&mut self.output);
            self.send(&output)?;
            self.output = output;
            self.output.clear();
        }
        Ok(())
    }

    /// Sends whole frames.
    ///
    /// # Errors
    /// Returns the reason if the peering has ended.
    pub(crate) fn send(&mut self, frames: &[u8]) -> Result<(), String> {
        let mut rest = frames;
        let mut progress = Instant::now();
        while !rest.is_empty() {
            match (&self.stream).write(rest) {
                Ok(n) => {
                    rest = rest.get(n..).unwrap_or_default();
                    progress = Instant::now();
                }
                Err(e) if is_pause(&e) => {
                    if progress.elapsed() > WRITE_TIMEOUT {
                        return Err(format!(
                            "{} has read nothing for {} s",
                            self.address,
                            WRITE_TIMEOUT.as_secs()
                        ));
                    }
                }
                Err(e) => return Err(self.ended(&e)),
            }
        }
        self.last_write = self.start.elapsed();
        Ok(())
    }

    fn take(
        &mut self,
        read: io::Result<usize>,
        mut traffic: impl FnMut(&[u8], Duration),
    ) -> Result<(), String> {
        match read {
            Ok(0) => return Err(self.ended(&"the node closed the connection")),
            Ok(n) => self.input.add(n),
            Err(e) if is_pause(&e) => return Ok(()),
            Err(e) => return Err(self.ended(&e)),
        }
        let now = now(self.start);
        self.last_read = now.monotonic;
        if self.skipped {
            let bytes = self.input.bytes();
            let Some(boundary) = boundary(bytes) else {
                // The last bytes may be the beginning of a header.
                let useless = bytes.len().saturating_sub(HEADER_LEN);
                self.input.remove(useless);
                return Ok(());
            };
            self.input.remove(boundary);
            self.skipped = false;
        }
        let taken = self.input.take_frames(|header, frame| {
            match header.kind {
                FrameType::Traffic => {
                    self.frame_len = frame.len();
                    traffic(frame, now.monotonic);
                }
                FrameType::Keepalive | FrameType::Unknown(_) => {}
                _ => self.plane.frame(now, self.port, frame),
            }
            Ok::<_, FrameError>(())
        });
        taken.map_err(|e| format!("{} sent a malformed frame: {e}", self.address))
    }

    fn ended(&self, why: &dyn std::fmt::Display) -> String {
        format!("the peering with {} ended: {why}", self.address)
    }
}

/// Returns the offset of the first frame. The payloads of the load do not contain such bytes.
fn boundary(bytes: &[u8]) -> Option<usize> {
    let begins = |header: &[u8]| header.starts_with(b"pine\0") && header.get(5) <= Some(&4);
    bytes.windows(HEADER_LEN).position(begins)
}

fn now(start: Instant) -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    Now {
        monotonic: start.elapsed(),
        unix_ms: unix.map_or(0, |time| time.as_millis() as u64),
    }
}

/// Connects to the first address of a name that accepts.
fn connect(address: &PeerUri) -> Result<(TcpStream, SocketAddr), Failure> {
    let failed = |e: io::Error| {
        Failure::runtime(format!(
            "cannot connect to {address}: {e}: check that a node listens there"
        ))
    };
    let mut last = io::Error::other("the name has no address");
    for remote in address.to_socket_addrs().map_err(failed)? {
        let stream = TcpStream::connect_timeout(&remote, CONNECT_TIMEOUT)
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        if let (Ok(stream), true) = (&stream, remote.ip().is_loopback()) {
            // Pacing, as in BBR, is expensive and useless on loopback.
            let _ = sockopt::set_tcp_congestion(stream, "cubic");
        }
        match stream {
            Ok(stream) => return Ok((stream, remote)),
            Err(e) => last = e,
        }
    }
    Err(failed(last))
}

fn shake_hands(mut stream: &TcpStream, key: &SecretKey) -> io::Result<[u8; HANDSHAKE_LEN]> {
    stream.set_read_timeout(Some(HANDSHAKE_TIMEOUT))?;
    stream.set_write_timeout(Some(HANDSHAKE_TIMEOUT))?;
    stream.write_all(&handshake::encode(key))?;
    let mut theirs = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut theirs)?;
    Ok(theirs)
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_found_after_part_of_a_frame() {
        let rest = b"pinebnch pine\x01 ...";
        let mut bytes = rest.to_vec();
        assert_eq!(boundary(&bytes), None);
        bytes.extend_from_slice(&KEEPALIVE);
        bytes.extend_from_slice(&KEEPALIVE);
        assert_eq!(boundary(&bytes), Some(rest.len()));
        assert_eq!(
            boundary(bytes.get(..rest.len() + 9).unwrap_or_default()),
            None
        );
        assert_eq!(
            boundary(bytes.get(rest.len()..).unwrap_or_default()),
            Some(0)
        );
    }
}
