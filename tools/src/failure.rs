//! Failures that end the program, with one line of text and an exit code.

use std::fmt;

/// A failure that ends the program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The exit code: 2 for a wrong command line or key, 1 for everything else.
    pub(crate) code: u8,
    /// The cause, and what to do about it.
    message: String,
}

impl Failure {
    /// Returns a failure of the user: the command line or a key is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            code: 2,
            message: one_line(&message.to_string()),
        }
    }

    /// Returns a failure of anything else.
    pub(crate) fn runtime(message: impl fmt::Display) -> Self {
        Self {
            code: 1,
            message: one_line(&message.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
