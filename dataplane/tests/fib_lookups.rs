//! The two lookups of the forwarding tables: recorded decisions, and random worlds against a
//! model that scans.

#![allow(clippy::unwrap_used)]

#[path = "fib_lookups/journeys.rs"]
mod journeys;
#[path = "fib_lookups/model.rs"]
mod model;
#[path = "fib_lookups/vectors.rs"]
mod vectors;
#[path = "fib_lookups/worlds.rs"]
mod worlds;
