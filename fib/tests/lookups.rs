//! The two lookups of the forwarding tables: recorded decisions, and random worlds against a
//! model that scans.

#![allow(clippy::unwrap_used)]

#[path = "lookups/journeys.rs"]
mod journeys;
#[path = "lookups/model.rs"]
mod model;
#[path = "lookups/vectors.rs"]
mod vectors;
#[path = "lookups/worlds.rs"]
mod worlds;
