//! Scenarios: a network, the changes it goes through, what is measured, and what is expected.
//!
//! The format of scenario files is documented in `docs/simulation.md`.

mod adversary;
mod check;
mod event;
mod layout;
mod read;
mod settings;
mod shape;
mod source;
mod tables;
mod times;

pub use self::adversary::{AdversarySettings, FrameKind, MischiefSettings};
pub use self::event::{Action, Event, NodeRef};
pub use self::settings::{
    ConvergedBy, LinkSettings, MeasureSettings, NetworkSettings, PingSettings, Scenario,
};
pub use self::source::Source;

pub(crate) use self::settings::{LAST_CALL, millionths};

#[cfg(test)]
mod tests;
