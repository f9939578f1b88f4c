//! Tests that every source file that a document names exists.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the paths of source files in a text. Names without a folder, such as `lib.rs`, do not count.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || "/._-".contains(c)))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.ends_with(".rs") && word.contains('/') && !word.starts_with('/'))
}

#[test]
fn named_files_exist() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let repository = repository.unwrap();
    let mut documents: Vec<PathBuf> = fs::read_dir(repository.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    documents.extend(["README.md", "CONTRIBUTING.md"].map(|name| repository.join(name)));

    let (mut found, mut missing) = (0, Vec::new());
    for document in &documents {
        for path in paths(&fs::read_to_string(document).unwrap()) {
            found += 1;
            if !repository.join(path).is_file() {
                missing.push(format!("{} names {path}", document.display()));
            }
        }
    }
    assert!(found > 10, "only {found} paths found");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn paths_are_found_in_text() {
    let text = "`a/b.rs`, (c-d/e_f.rs:12). See g/h.rs. Not lib.rs, https://docs.rs or a/b.rsx.";
    let found: Vec<_> = paths(text).collect();
    assert_eq!(found, ["a/b.rs", "c-d/e_f.rs", "g/h.rs"]);
}
