//! A simulator of networks: many real control planes and forwarding tables in one process, in
//! virtual time.
//!
//! [`Scenario`] describes a network and what happens to it, [`run()`] runs it, and [`Report`] has the
//! results. Tests of other crates drive a [`Network`](network::Network) themselves.
//!
//! The same scenario with the same seed gives the same output on any machine. Therefore nothing in
//! this crate reads a clock, depends on the order of threads, or draws random numbers other than by
//! [`Random`](random::Random), and only reports depend on floating-point numbers. Engines and sockets
//! do not belong here: they live in `dataplane`.

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
