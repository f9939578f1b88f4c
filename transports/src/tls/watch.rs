//! Detection of changed files.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The state of some files, by which a change is noticed without reading them. Symbolic links are followed, so that a
/// link that is changed, as certbot and Kubernetes do, is noticed too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileStates(Vec<Option<FileState>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    /// The time of the last change of the inode, which also changes with a modification time that was set back.
    changed: (i64, i64),
}

impl FileStates {
    /// Returns the states of `files` now.
    pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        Self(files.into_iter().map(FileState::of).collect())
    }
}

impl FileState {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Waits for files to settle: a certificate and its key are rarely replaced at the same moment, and a file that is
/// being written is not complete.
#[derive(Debug, Default)]
pub(super) struct Settling(Option<FileStates>);

impl Settling {
    /// Reports whether to reload: the files differ from those that were loaded last, and have been as they are now at
    /// the previous call.
    pub(super) fn is_due(&mut self, loaded: &FileStates, now: FileStates) -> bool {
        if *loaded == now {
            self.0 = None;
            return false;
        }
        let settled = self.0.as_ref() == Some(&now);
        self.0 = (!settled).then_some(now);
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_still_change_are_not_due() {
        let state = |size| {
            FileStates(vec![Some(FileState {
                file: (1, 1),
                size,
                modified: (0, 0),
                changed: (0, 0),
            })])
        };
        let mut settling = Settling::default();
        let mut due = |loaded, now| settling.is_due(&state(loaded), state(now));
        assert!(!due(1, 1));
        assert!(!due(1, 2));
        assert!(!due(1, 3), "it changed since the previous call");
        assert!(due(1, 3));
        assert!(!due(3, 3), "it was loaded");
        assert!(!due(3, 4));
        assert!(!due(3, 3), "it changed back");
        assert!(!due(3, 4));
        assert!(due(3, 4));
    }
}
