//! The memory of the tables: the nodes of persistent trees, and prefetching. The only module of this
//! crate that may use `unsafe`.
#![allow(unsafe_code)]

pub(crate) mod arena;
pub(crate) mod prefetch;
mod sync;
