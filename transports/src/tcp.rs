//! TCP: binding, listening and dialling.

mod bind;
mod dial;
mod listen;

pub use bind::{BoundListener, ListenAddress};
pub use listen::Listening;
