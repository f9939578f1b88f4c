//! Assertions about the end of a program and its output.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::daemon::wait_until;

pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Asserts the exit code, one line on standard error with these words, and nothing on standard output.
pub(crate) fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(output.stdout.is_empty(), "{output:?}");
    // Log lines do not count.
    let lines: Vec<_> = error.lines().filter(|l| !l.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(lines[0].starts_with("pinecone: "), "{error}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is missing: {error}");
    }
}

/// Runs a program that must exit by itself within a time limit.
pub(crate) fn ended(program: &mut std::process::Command) -> Output {
    let program = program.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    wait_until("the program to end", || {
        child.try_wait().unwrap().ok_or("runs")
    });
    child.wait_with_output().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone())
        .unwrap()
        .trim()
        .to_owned()
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
