//! The ways in which the program fails.

use std::fmt::Write as _;

/// A reason to end with an error.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line, the scenario or an output path is wrong, so nothing was run.
    Input(String),
    /// The run ended, but these results could not be written.
    Output(Vec<String>),
}

impl Failure {
    /// Wraps an error that was found before the run or that ended it.
    pub(crate) fn input(error: pinecone_sim::Error) -> Self {
        Self::Input(describe(&error))
    }

    /// Returns the exit code of the process.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Output(_) => 3,
        }
    }

    /// Returns the messages for the user, each of which is one line.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &str> {
        let messages = match self {
            Self::Input(message) => std::slice::from_ref(message),
            Self::Output(messages) => messages,
        };
        messages.iter().map(String::as_str)
    }
}

/// Formats an error and its causes as one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
