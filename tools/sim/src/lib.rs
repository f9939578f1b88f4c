//! Networks of real control planes and real forwarding tables in virtual time, in one process.
//!
//! The same scenario with the same seed gives the same output on any machine.
//!
//! What may not enter: clocks, threads whose order could be seen, sources of chance other than
//! [`Random`](random::Random), floating-point numbers that anything but a report depends on,
//! engines and sockets.

pub mod adversary;
pub mod counts;
pub mod error;
pub mod expect;
pub mod forward;
pub mod graph;
pub mod ids;
mod input;
pub mod link;
pub mod loss;
pub mod measure;
pub mod network;
pub mod node;
pub mod plot;
pub mod queue;
pub mod random;
pub mod report;
pub mod run;
pub mod scenario;
pub mod time;
pub mod topology;

pub use error::Error;
pub use report::Report;
pub use run::run;
pub use scenario::Scenario;
pub use time::Nanos;
