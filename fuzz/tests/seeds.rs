//! Tests that every property holds for the seeds, for their prefixes and with single bytes changed.

use pinecone_fuzz::{TARGETS, seeds};

#[test]
fn every_target_has_seeds_and_holds_for_them() {
    for (target, property) in TARGETS {
        let seeds = seeds::of(target);
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for seed in seeds {
            property(&seed);
            // Long seeds are cut at their start, where the fields are.
            for at in 0..seed.len().min(200) {
                property(&seed[..at]);
                let mut changed = seed.clone();
                for value in [0, 1, 0x7f, 0x80, 0xff, b'"', seed[at] ^ 1] {
                    changed[at] = value;
                    property(&changed);
                }
            }
        }
    }
}

#[test]
fn every_target_has_a_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz_targets");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let targets: Vec<_> = TARGETS.iter().map(|(target, _)| *target).collect();
    assert_eq!(files, targets);
}
