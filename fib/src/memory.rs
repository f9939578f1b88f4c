//! The memory of the tables: nodes of persistent trees, and prefetching.
#![allow(unsafe_code)]

pub(crate) mod arena;
pub(crate) mod prefetch;
