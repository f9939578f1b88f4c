//! The user data of requests, by which their completions are identified.

/// A kind of request.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Op {
    Receive = 1,
    Send = 2,
    Bell = 3,
    Cancel = 4,
    /// A drain without a copy. Its user data has its number among such drains, not its slot.
    ZeroCopy = 5,
    /// A message that wakes the worker of this number. It completes only if it fails.
    Wake = 6,
    /// A message from another worker that wakes this one.
    Woken = 7,
}

/// A kind of send.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inline,
    Drain,
    /// A drain without a copy, with its number.
    ZeroCopy(u32),
}

/// Returns the user data of a send.
pub(super) fn send_tag(slot: u32, kind: Kind) -> u64 {
    match kind {
        Kind::Inline | Kind::Drain => tag(Op::Send, slot),
        Kind::ZeroCopy(id) => tag(Op::ZeroCopy, id),
    }
}

/// Returns the user data of a request of this kind for this slot.
pub(super) const fn tag(op: Op, slot: u32) -> u64 {
    (op as u64) << 32 | slot as u64
}
