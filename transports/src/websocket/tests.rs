//! Tests over streams in memory. Frames are written and read by code of the tests, or by another library.

mod framing;
mod hostile;
mod interop;
mod pings;
mod raw;
mod upgrade;
mod writes;
