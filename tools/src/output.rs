//! What the program prints as its result.

use std::io::{self, Write};

use crate::failure::Failure;

/// Writes `text` to standard output, at once.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|e| Failure::runtime(format!("cannot write the result: {e}")))
}
