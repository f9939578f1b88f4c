//! Unframing, without I/O.

use super::error::Violation;
use super::frame::{Header, MAX_CONTROL, MAX_HEADER, MAX_MESSAGE, Opcode, Role};
use super::mask::{self, Mask};

/// Turns received frames into the bytes of their binary messages, in place.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    state: State,
    /// Bytes of the current fragmented message so far.
    message: Option<usize>,
    /// The latest ping that was not taken yet.
    ping: Option<ControlPayload>,
}

#[derive(Debug)]
enum State {
    /// The first bytes of a header.
    Header {
        bytes: [u8; MAX_HEADER],
        len: usize,
    },
    /// The payload of a data frame.
    Payload {
        left: usize,
        mask: Option<Mask>,
    },
    Control {
        opcode: Opcode,
        payload: ControlPayload,
        left: usize,
        mask: Option<Mask>,
    },
    Ended,
}

const NEXT_FRAME: State = State::Header {
    bytes: [0; MAX_HEADER],
    len: 0,
};

/// The payload of a control frame.
#[derive(Clone, Debug)]
pub(super) struct ControlPayload {
    bytes: [u8; MAX_CONTROL],
    len: usize,
}

impl ControlPayload {
    const EMPTY: Self = Self {
        bytes: [0; MAX_CONTROL],
        len: 0,
    };

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends `bytes`, of which there are at most [`MAX_CONTROL`] in all.
    fn extend(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    fn unmask(&mut self, mask: Mask) {
        mask::apply(&mut self.bytes[..self.len], mask);
    }
}

/// The result of decoding some received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Number of payload bytes, which are now the first of the bytes that were decoded.
    pub payload: usize,
    /// The end of the connection, after this payload.
    pub end: Option<End>,
}

/// The end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer sent a close frame, with this code if it gave one.
    Closed(Option<u16>),
    /// The peer must be sent a close frame.
    Violation(Violation),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Decoder {
    /// Creates a decoder for the side `role`, which receives the frames.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self {
            role,
            state: NEXT_FRAME,
            message: None,
            ping: None,
        }
    }

    /// Decodes the next received bytes. They may begin and end anywhere in a frame. After the end of the connection
    /// all bytes are ignored.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Decoded {
        let mut at = Position {
            read: 0,
            payload: 0,
        };
        while at.read < bytes.len() {
            if let Err(end) = self.step(bytes, &mut at) {
                self.state = State::Ended;
                return Decoded {
                    payload: at.payload,
                    end: Some(end),
                };
            }
        }
        Decoded {
            payload: at.payload,
            end: None,
        }
    }

    /// Reports whether a frame or a fragmented message is incomplete.
    #[must_use]
    pub fn is_mid_message(&self) -> bool {
        match self.state {
            State::Header { len, .. } => len > 0 || self.message.is_some(),
            State::Payload { .. } | State::Control { .. } => true,
            State::Ended => false,
        }
    }

    /// Returns the payload of the latest ping, and forgets it. Earlier pings need no answer (RFC 6455,
    /// section 5.5.3).
    pub(super) fn take_ping(&mut self) -> Option<ControlPayload> {
        self.ping.take()
    }

    /// Reports whether a ping was not answered yet.
    pub(super) fn has_ping(&self) -> bool {
        self.ping.is_some()
    }

    /// Decodes one part of a frame.
    fn step(&mut self, bytes: &mut [u8], at: &mut Position) -> Result<(), End> {
        let received = &bytes[at.read..];
        match &mut self.state {
            State::Header { bytes: head, len } if *len == 0 => {
                match Header::parse(received, self.role)? {
                    Some((header, header_len)) => {
                        at.read += header_len;
                        self.begin(&header)
                    }
                    None => {
                        // Fewer bytes than a header has.
                        head[..received.len()].copy_from_slice(received);
                        *len = received.len();
                        at.read = bytes.len();
                        Ok(())
                    }
                }
            }
            State::Header { bytes: head, len } => {
                let n = received.len().min(MAX_HEADER - *len);
                head[*len..*len + n].copy_from_slice(&received[..n]);
                match Header::parse(&head[..*len + n], self.role)? {
                    Some((header, header_len)) => {
                        at.read += header_len - *len;
                        self.begin(&header)
                    }
                    None => {
                        *len += n;
                        at.read += n;
                        Ok(())
                    }
                }
            }
            State::Payload { left, mask } => {
                let n = received.len().min(*left);
                bytes.copy_within(at.read..at.read + n, at.payload);
                if let Some(mask) = mask {
                    *mask = mask::apply(&mut bytes[at.payload..at.payload + n], *mask);
                }
                at.read += n;
                at.payload += n;
                *left -= n;
                if *left == 0 {
                    self.state = NEXT_FRAME;
                }
                Ok(())
            }
            State::Control {
                opcode,
                payload,
                left,
                mask,
            } => {
                let n = received.len().min(*left);
                payload.extend(&received[..n]);
                at.read += n;
                *left -= n;
                if *left > 0 {
                    return Ok(());
                }
                if let Some(mask) = *mask {
                    payload.unmask(mask);
                }
                let (opcode, payload) = (*opcode, payload.clone());
                self.control(opcode, payload)
            }
            State::Ended => {
                at.read = bytes.len();
                Ok(())
            }
        }
    }

    /// Begins the payload of a frame.
    fn begin(&mut self, header: &Header) -> Result<(), End> {
        self.state = NEXT_FRAME;
        let message = match (header.opcode, self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return self.begin_control(header),
            (Opcode::Continuation, Some(message)) => message,
            (Opcode::Continuation, None) => return Err(Violation::Continuation.into()),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::Interleaved.into()),
            (Opcode::Text, None) => return Err(Violation::Text.into()),
            (Opcode::Binary, None) => 0,
        };
        let left = usize::try_from(header.len)
            .ok()
            .filter(|len| *len <= MAX_MESSAGE - message)
            .ok_or(Violation::TooLong)?;
        self.message = (!header.is_final).then_some(message + left);
        if left > 0 {
            let mask = header.mask;
            self.state = State::Payload { left, mask };
        }
        Ok(())
    }

    fn begin_control(&mut self, header: &Header) -> Result<(), End> {
        let left = usize::try_from(header.len).map_err(|_| Violation::Control)?;
        if left == 0 {
            return self.control(header.opcode, ControlPayload::EMPTY);
        }
        self.state = State::Control {
            opcode: header.opcode,
            payload: ControlPayload::EMPTY,
            left,
            mask: header.mask,
        };
        Ok(())
    }

    /// Handles a whole control frame.
    fn control(&mut self, opcode: Opcode, payload: ControlPayload) -> Result<(), End> {
        self.state = NEXT_FRAME;
        match opcode {
            Opcode::Ping => self.ping = Some(payload),
            Opcode::Close => return Err(close(payload.as_bytes())),
            // Pongs, as no other frame is a control frame.
            _ => {}
        }
        Ok(())
    }
}

/// A position in received bytes.
struct Position {
    /// Bytes that were decoded.
    read: usize,
    /// Bytes of payload, which are the first ones. At most `read`.
    payload: usize,
}

/// Returns what a close frame with this payload means.
fn close(payload: &[u8]) -> End {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => End::Closed(None),
            _ => Violation::CloseCode.into(),
        };
    };
    let code = u16::from_be_bytes(*code);
    // 1004 to 1006 and 1015 are never sent; 1012 to 1014 were registered after the RFC.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Violation::CloseCode.into();
    }
    match str::from_utf8(reason) {
        Ok(_) => End::Closed(Some(code)),
        Err(_) => Violation::CloseReason.into(),
    }
}
