//! Payloads to send.

use bytes::{Bytes, BytesMut};

/// A payload to send: borrowed bytes, or bytes that the node takes over.
///
/// [`Node::send_to`](crate::Node::send_to) takes everything that converts into this. Borrowed bytes are copied once.
/// [`Bytes`], and what converts into them without a copy (vectors, strings, boxes, [`BytesMut`]), are sent from the
/// memory that they lie in when they are at least 2 KiB long. Shorter ones are copied next to other frames.
///
/// Such a payload is copied once if the first hop is busy and the frame must wait in its queue, if the frame is handed
/// over to another worker, or if there is a packet filter, which sees whole frames. So a worker keeps it for a moment
/// only, however slow the peer is, and then drops it: the owner of [`Bytes::from_owner`] must not block or panic when
/// it is dropped.
#[derive(Clone, Debug)]
pub struct Payload<'a>(Repr<'a>);

#[derive(Clone, Debug)]
enum Repr<'a> {
    Borrowed(&'a [u8]),
    Shared(Bytes),
}

impl Payload<'_> {
    /// Returns the bytes of the payload.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Repr::Borrowed(bytes) => bytes,
            Repr::Shared(bytes) => bytes,
        }
    }

    /// Returns the payload as [`Bytes`]. Borrowed bytes are copied.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Repr::Shared(bytes) => bytes,
        }
    }
}

macro_rules! from_borrowed {
    ($($type:ty),*) => {
        $(impl<'a> From<&'a $type> for Payload<'a> {
            fn from(bytes: &'a $type) -> Self {
                Self(Repr::Borrowed(bytes.as_ref()))
            }
        })*
    };
}

macro_rules! from_owned {
    ($($type:ty),*) => {
        $(impl From<$type> for Payload<'_> {
            fn from(bytes: $type) -> Self {
                Self(Repr::Shared(bytes.into()))
            }
        })*
    };
}

from_borrowed!([u8], Vec<u8>, Box<[u8]>, BytesMut, str, String);
from_owned!(Bytes, Vec<u8>, Box<[u8]>, BytesMut, String);

impl From<&Bytes> for Payload<'_> {
    /// Shares the bytes.
    fn from(bytes: &Bytes) -> Self {
        Self(Repr::Shared(bytes.clone()))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self(Repr::Borrowed(bytes))
    }
}

impl<const N: usize> From<[u8; N]> for Payload<'_> {
    fn from(bytes: [u8; N]) -> Self {
        Self(Repr::Shared(Bytes::copy_from_slice(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_borrowed_bytes_are_copied() {
        let (vector, shared) = (vec![1; 100], Bytes::from(vec![2; 100]));
        let (of_vector, of_shared) = (vector.as_ptr(), shared.as_ptr());
        let copied = Payload::from(&vector).into_bytes();
        assert!(copied == vector && copied.as_ptr() != of_vector);
        assert_eq!(Payload::from(&shared).into_bytes().as_ptr(), of_shared);
        assert_eq!(Payload::from(shared).into_bytes().as_ptr(), of_shared);
        assert_eq!(Payload::from(vector).into_bytes().as_ptr(), of_vector);
    }
}
