//! What requests carry so that their completions can be told apart.

/// A kind of request.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Op {
    Receive = 1,
    Send = 2,
    Bell = 3,
    Cancel = 4,
    /// A drain without a copy; it carries its number among those, not its slot.
    ZeroCopy = 5,
    /// What we send to wake the worker of this number, which completes only if it fails.
    Wake = 6,
    /// What another worker has sent to wake us.
    Woken = 7,
}

/// A kind of send.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inline,
    Drain,
    /// A drain without a copy, of this number.
    ZeroCopy(u32),
}

/// What a send carries.
pub(super) fn send_tag(slot: u32, kind: Kind) -> u64 {
    match kind {
        Kind::Inline | Kind::Drain => tag(Op::Send, slot),
        Kind::ZeroCopy(id) => tag(Op::ZeroCopy, id),
    }
}

/// What a request of this kind, about this slot, carries.
pub(super) const fn tag(op: Op, slot: u32) -> u64 {
    (op as u64) << 32 | slot as u64
}
