//! Records: what an encrypted link puts on the stream, without I/O.

use snow::TransportState;

/// Length of a record's header: the length of the rest, big-endian.
pub(super) const HEADER_LEN: usize = 2;
/// Length of the authentication tag at the end of a record.
pub(super) const TAG_LEN: usize = 16;
/// Length of the longest record that may arrive.
pub(super) const LONGEST_RECORD: usize = HEADER_LEN + u16::MAX as usize;
/// The most payload of a record that this node sends. Two such records hold a relay's buffer.
pub(super) const MOST_SENT: usize = 32 * 1024;
/// Number of records after which each direction changes its key: 4 GiB at most, a hundredth of what AES-GCM
/// bears (RFC 8446, section 5.5).
const REKEY_INTERVAL: u64 = 1 << 16;

/// The keys of an encrypted link, one for each direction.
pub(super) struct Records {
    state: TransportState,
    rekey_interval: u64,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Records(..)")
    }
}

/// The start of what was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received<'a> {
    /// A whole record: its sealed part.
    Record(&'a [u8]),
    /// A part of a record of which at least this many bytes are needed in all.
    Needs(usize),
    /// A record that is too short to have a tag.
    Malformed,
}

impl Records {
    pub(super) fn new(state: TransportState) -> Self {
        Self {
            state,
            rekey_interval: REKEY_INTERVAL,
        }
    }

    /// Changes the interval of new keys, which is part of the format, for tests.
    #[cfg(test)]
    pub(super) fn rekey_after(&mut self, records: u64) {
        self.rekey_interval = records;
    }

    /// Seals up to [`MOST_SENT`] bytes into a record at the start of `out`. Returns its length.
    pub(super) fn seal(&mut self, payload: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let (header, rest) = out
            .split_first_chunk_mut::<HEADER_LEN>()
            .ok_or(snow::Error::Input)?;
        let sealed = self.state.write_message(payload, rest)?;
        *header = u16::try_from(sealed)
            .map_err(|_| snow::Error::Input)?
            .to_be_bytes();
        if self
            .state
            .sending_nonce()
            .is_multiple_of(self.rekey_interval)
        {
            self.state.rekey_outgoing();
        }
        Ok(HEADER_LEN + sealed)
    }

    /// Opens the sealed part of a record. Returns the length of the payload, which is 0 for the last record of the
    /// stream. `out` should be as long as the sealed part, so that nothing is allocated.
    pub(super) fn open(&mut self, sealed: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        let payload = self.state.read_message(sealed, out)?;
        if self
            .state
            .receiving_nonce()
            .is_multiple_of(self.rekey_interval)
        {
            self.state.rekey_incoming();
        }
        Ok(payload)
    }
}

/// Finds the record at the start of `bytes`.
pub(super) fn split(bytes: &[u8]) -> Received<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else {
        return Received::Needs(HEADER_LEN);
    };
    let sealed = usize::from(u16::from_be_bytes(*header));
    if sealed < TAG_LEN {
        return Received::Malformed;
    }
    match rest.get(..sealed) {
        Some(sealed) => Received::Record(sealed),
        None => Received::Needs(HEADER_LEN + sealed),
    }
}
