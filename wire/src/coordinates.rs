//! A node's place in the spanning tree (protocol section 1).

use std::fmt;

use crate::varu64::{self, VaruError};

/// The port numbers from the root down to a node; the root's are empty.
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

/// Coordinates where they lie in a frame: the bytes behind the length field, checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CoordinatesView<'a>(&'a [u8]);

impl Coordinates {
    /// The ports, root first.
    #[must_use]
    pub fn ports(&self) -> &[u64] {
        &self.0
    }

    /// How many steps below the root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether these are the root's.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Hops between two places by way of the tree.
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

    /// Length of the encoding without its two-byte length field.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.0.iter().map(|&p| varu64::len(p)).sum()
    }

    /// Appends the encoding without its length field.
    pub fn push_body(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|&p| varu64::push(out, p));
    }

    /// The encoding with its length field, or nothing if it needs more than 65,535 bytes.
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

    /// Checks that `body` (what stands behind the length field) is a run of whole numbers.
    ///
    /// # Errors
    /// [`VaruError`] of the first number that is not.
    #[inline]
    pub fn new(body: &'a [u8]) -> Result<Self, VaruError> {
        let mut rest = body;
        while !rest.is_empty() {
            let (_, n) = varu64::decode(rest)?;
            rest = &rest[n..];
        }
        Ok(Self(body))
    }

    /// Reads length field and ports from the start of `bytes`: the view and the bytes it took,
    /// length field included.
    ///
    /// # Errors
    /// [`VaruError::Truncated`] if the length reaches past the end, else as [`Self::new`].
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), VaruError> {
        let (len, rest) = bytes.split_first_chunk().ok_or(VaruError::Truncated)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let body = rest.get(..len).ok_or(VaruError::Truncated)?;
        Ok((Self::new(body)?, len + 2))
    }

    /// The view of bytes that have been checked before: a second look at a frame costs nothing.
    pub(crate) const fn from_checked(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// The bytes behind the length field.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether there are none: the root's, or none given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ports, root first.
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
