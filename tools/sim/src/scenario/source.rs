//! The positions of a scenario's keys in its file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Error;

/// The file of a scenario and the lines of its keys, for errors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    pub(super) file: PathBuf,
    /// The line of each key, from 1.
    pub(super) lines: BTreeMap<String, usize>,
}

impl Source {
    /// Returns an error at a key, such as `event.2.rate`. If the key is absent, the error is at the
    /// table around it.
    pub(crate) fn error(&self, key: &str, wrong: impl Into<String>) -> Error {
        let mut found = self.lines.get(key);
        let mut around = key;
        while let (None, Some((outer, _))) = (found, around.rsplit_once('.')) {
            around = outer;
            found = self.lines.get(around);
        }
        Error::Input {
            file: self.file.clone(),
            line: found.copied().unwrap_or(1),
            wrong: wrong.into(),
        }
    }
}
