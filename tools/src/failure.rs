//! How the program ends when it cannot do what was asked: one line, and a code.

use std::fmt;

/// Something that ends the program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What the process exits with: 2 if it was asked the wrong way, 1 if it could not be done.
    pub(crate) code: u8,
    /// What is wrong, and what to do.
    message: String,
}

impl Failure {
    /// The command line, or a key given to it, makes no sense.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            code: 2,
            message: one_line(&message.to_string()),
        }
    }

    /// It makes sense, and failed.
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
