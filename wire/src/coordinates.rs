//! Coordinates: the position of a node in the spanning tree (protocol section 1).

use std::fmt;

use crate::varu64::{self, VaruError};

/// The port numbers on the path from the root to a node. The root's coordinates are empty.
///
/// ```
/// use pinecone_wire::Coordinates;
///
/// let coordinates = Coordinates::from(vec![1, 2, 3, 4000]);
/// assert_eq!(coordinates.encode().unwrap(), [0, 5, 1, 2, 3, 0x9f, 0x20]);
/// assert_eq!(coordinates.distance(&vec![1, 9].into()), 4);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Coordinates(Vec<u64>);

/// Coordinates in place in a frame: the bytes after the length field, which have been checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CoordinatesView<'a>(&'a [u8]);

impl Coordinates {
    /// Returns the ports, that of the root first.
    #[must_use]
    pub fn ports(&self) -> &[u64] {
        &self.0
    }

    /// Returns the number of hops from the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Reports whether these are the root's coordinates.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of hops between two nodes through the tree.
    #[must_use]
    pub fn distance(&self, other: &Self) -> usize {
        let common = self
            .0
            .iter()
            .zip(&other.0)
            .take_while(|(a, b)| a == b)
            .count();
        self.0.len() + other.0.len() - 2 * common
    }

    /// Returns the length of the encoding in bytes, without the length field.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.0.iter().map(|&p| varu64::len(p)).sum()
    }

    /// Appends the encoding without the length field.
    pub fn push_body(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|&p| varu64::push(out, p));
    }

    /// Returns the encoding with its two-byte length field; `None` if it is longer than 65,535 bytes.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let len = u16::try_from(self.encoded_len()).ok()?;
        let mut out = Vec::with_capacity(usize::from(len) + 2);
        out.extend_from_slice(&len.to_be_bytes());
        self.push_body(&mut out);
        Some(out)
    }
}

impl From<Vec<u64>> for Coordinates {
    fn from(ports: Vec<u64>) -> Self {
        Self(ports)
    }
}

impl From<CoordinatesView<'_>> for Coordinates {
    fn from(view: CoordinatesView<'_>) -> Self {
        Self(view.ports().collect())
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, port) in self.0.iter().enumerate() {
            write!(f, "{}{port}", if i == 0 { "" } else { " " })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> CoordinatesView<'a> {
    /// No coordinates.
    pub const EMPTY: Self = Self(&[]);

    /// Checks that `body`, the bytes after the length field, is a sequence of valid numbers.
    ///
    /// # Errors
    /// The error of the first number that is not valid.
    #[inline]
    pub fn new(body: &'a [u8]) -> Result<Self, VaruError> {
        let mut rest = body;
        while !rest.is_empty() {
            let (_, n) = varu64::decode(rest)?;
            rest = &rest[n..];
        }
        Ok(Self(body))
    }

    /// Decodes the length field and the ports at the start of `bytes`. Returns them with their length
    /// in bytes, length field included.
    ///
    /// # Errors
    /// [`VaruError::Truncated`] if they are longer than `bytes`; otherwise as [`Self::new`].
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), VaruError> {
        let (len, rest) = bytes.split_first_chunk().ok_or(VaruError::Truncated)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let body = rest.get(..len).ok_or(VaruError::Truncated)?;
        Ok((Self::new(body)?, len + 2))
    }

    /// Creates a view of bytes that have been checked before, without checking them again.
    pub(crate) const fn from_checked(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// Returns the bytes after the length field.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Reports whether there are no ports: the root's coordinates, or none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the ports, that of the root first.
    pub fn ports(&self) -> impl Iterator<Item = u64> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (port, n) = varu64::decode(rest).ok()?;
            rest = &rest[n..];
            Some(port)
        })
    }
}

impl fmt::Debug for CoordinatesView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ports()).finish()
    }
}
