//! Tests that every example runs to its end by itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any example takes.
const LIMIT: Duration = Duration::from_secs(300);

/// The directory that Cargo puts the examples in, beside that of the tests.
fn executables() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("examples")
}

fn run(name: &str) {
    let executable = executables().join(name);
    let mut child = Command::new(&executable)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            let path = executable.display();
            panic!("{path}: {error}; `cargo build -p pinecone --examples` builds it")
        });
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            panic!("the example {name} does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "the example {name}: {status}");
}

#[test]
fn examples_run_to_their_end() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        run(&name);
    }
}
