//! TCP: binding, listening and dialling.

mod bind;
mod dial;
mod listen;
mod options;

pub use bind::BoundListener;
pub use listen::Listening;
