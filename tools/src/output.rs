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

/// Returns the number with the noun, in the plural unless it is one.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!(counted(0, "failure"), "0 failures");
        assert_eq!(counted(1, "failure"), "1 failure");
        assert_eq!(counted(2, "failure"), "2 failures");
    }
}
