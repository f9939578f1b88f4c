//! A peer that sends arbitrary bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pinecone_wire::announcement::{push_frame, root_payload, sign};
use pinecone_wire::frame::{HEADER_LEN, KEEPALIVE};
use pinecone_wire::{
    Announcement, Frame, FrameType, HANDSHAKE_LEN, SecretKey, Split, handshake, split,
};

use crate::daemon::PATIENCE;

pub(crate) struct RawPeer {
    pub(crate) stream: TcpStream,
    pub(crate) key: SecretKey,
    received: Vec<u8>,
}

impl RawPeer {
    /// Connects and performs the handshake.
    pub(crate) fn connect(address: &str, key: SecretKey) -> Self {
        Self::try_connect(address, key).unwrap()
    }

    /// Like [`Self::connect`], to a daemon that may exit meanwhile.
    pub(crate) fn try_connect(address: &str, key: SecretKey) -> io::Result<Self> {
        Self::try_over(try_connect(address)?, key)
    }

    /// Performs the handshake.
    pub(crate) fn over(stream: TcpStream, key: SecretKey) -> Self {
        Self::try_over(stream, key).unwrap()
    }

    fn try_over(mut stream: TcpStream, key: SecretKey) -> io::Result<Self> {
        stream.write_all(&handshake::encode(&key))?;
        let mut theirs = [0; HANDSHAKE_LEN];
        stream.read_exact(&mut theirs)?;
        handshake::decode(&theirs).unwrap();
        Ok(Self {
            stream,
            key,
            received: Vec::new(),
        })
    }

    /// Like [`Self::connect`], and announces itself as a root.
    pub(crate) fn announced(address: &str, key: SecretKey) -> Self {
        let mut peer = Self::connect(address, key);
        peer.announce(1);
        peer
    }

    /// Announces itself as a root with this sequence.
    pub(crate) fn announce(&mut self, sequence: u64) {
        let frame = chain(&[&self.key], sequence);
        self.send(&frame);
    }

    /// Chooses the daemon as its parent and announces that.
    pub(crate) fn follow(&mut self) {
        let payload = loop {
            let frame = self.next_frame().expect("an announcement");
            if let (_, Frame::Announcement { payload }) = Frame::parse(&frame).unwrap() {
                break payload.to_vec();
            }
        };
        let signature = sign(&payload, &self.key);
        let mut frame = Vec::new();
        push_frame(&mut frame, &payload, 1, &self.key.public_key(), &signature).unwrap();
        self.send(&frame);
    }

    /// Returns the next traffic frame.
    pub(crate) fn next_traffic(&mut self) -> Vec<u8> {
        loop {
            let frame = self.next_frame().expect("a traffic frame");
            if let (_, Frame::Traffic(_)) = Frame::parse(&frame).unwrap() {
                return frame;
            }
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Returns the next frame that is not a keepalive, or `None` when the daemon has closed the stream.
    pub(crate) fn next_frame(&mut self) -> Option<Vec<u8>> {
        let start = Instant::now();
        loop {
            if let Split::Frame(header) = split(&self.received).unwrap() {
                let frame: Vec<_> = self.received.drain(..usize::from(header.len)).collect();
                if header.kind != FrameType::Keepalive {
                    return Some(frame);
                }
                continue;
            }
            assert!(start.elapsed() < PATIENCE, "no frame came");
            let mut bytes = [0; 65536];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(len) => self.received.extend_from_slice(&bytes[..len]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("no frame came: {e}"),
            }
        }
    }

    /// Returns the next announcement of the daemon.
    pub(crate) fn next_announcement(&mut self) -> Announcement {
        loop {
            let frame = self.next_frame().expect("an announcement");
            if let (_, Frame::Announcement { payload }) = Frame::parse(&frame).unwrap() {
                return Announcement::decode(payload).unwrap();
            }
        }
    }

    /// Waits until the daemon closes the stream.
    pub(crate) fn wait_closed(&mut self) {
        while self.next_frame().is_some() {}
    }

    /// Sends keepalives for this time or until the daemon closes the stream. Returns whether it did.
    pub(crate) fn idle(&mut self, time: Duration) -> bool {
        let start = Instant::now();
        self.stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let mut closed = false;
        while !closed && start.elapsed() < time {
            // Fails when the stream is closed, which the next read detects.
            let _ = self.stream.write_all(&KEEPALIVE);
            closed = match self.stream.read(&mut [0; 65536]) {
                Ok(len) => len == 0,
                Err(e) => e.kind() == ErrorKind::ConnectionReset,
            };
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        closed
    }
}

/// Connects without a handshake.
pub(crate) fn connect(address: &str) -> TcpStream {
    try_connect(address).unwrap()
}

fn try_connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads the handshake of the daemon.
pub(crate) fn read_handshake(stream: &mut TcpStream) -> [u8; HANDSHAKE_LEN] {
    let mut bytes = [0; HANDSHAKE_LEN];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads until the daemon closes the stream.
pub(crate) fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the stream was not closed: {e}"),
    }
    bytes
}

/// Returns an announcement frame signed by these keys, the root first, each with port 1.
pub(crate) fn chain(signers: &[&SecretKey], sequence: u64) -> Vec<u8> {
    chain_of(signers, sequence, 1)
}

/// Returns an announcement frame signed by these keys, the root first, each with this port.
pub(crate) fn chain_of(signers: &[&SecretKey], sequence: u64, port: u64) -> Vec<u8> {
    let mut payload = root_payload(&signers[0].public_key(), sequence);
    let mut frame = Vec::new();
    for signer in signers {
        let signature = sign(&payload, signer);
        frame.clear();
        push_frame(&mut frame, &payload, port, &signer.public_key(), &signature).unwrap();
        payload = frame[HEADER_LEN + 2..].to_vec();
    }
    frame
}
