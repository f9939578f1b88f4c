/// The side that opened a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer opened it.
    Inbound,
    /// This node opened it.
    Outbound,
}
