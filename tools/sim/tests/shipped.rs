//! The shipped scenarios: the expectations of their small variants hold.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pinecone_sim::{Scenario, run};

macro_rules! shipped {
    ($($name:ident: $file:literal,)*) => {
        const TESTED: &[&str] = &[$($file),*];
        $(#[test]
        fn $name() {
            holds($file);
        })*
    };
}

shipped! {
    a_cold_start: "cold-start.toml",
    two_networks_merge: "merge.toml",
    the_root_is_killed: "root-killed.toml",
    a_tenth_goes_every_minute: "churn.toml",
    nodes_move: "mobility.toml",
    a_line_agrees: "line-200.toml",
    a_ring_agrees: "ring-200.toml",
    a_grid_agrees: "grid-30x30.toml",
    an_adversary_drops_announcements: "adversary-drops-announcements.toml",
    an_adversary_drops_bootstraps: "adversary-drops-bootstraps.toml",
    an_adversary_drops_broadcasts: "adversary-drops-broadcasts.toml",
    an_adversary_drops_traffic: "adversary-drops-traffic.toml",
    an_adversary_drops_half_of_everything: "adversary-drops-half.toml",
    an_adversary_floods_made_up_keys: "adversary-floods.toml",
    an_adversary_replays_bootstraps: "adversary-replays.toml",
    an_adversary_says_that_all_paths_are_broken: "adversary-denies.toml",
    an_adversary_claims_to_be_next_to_everyone: "adversary-claims.toml",
}

#[track_caller]
fn holds(file: &str) {
    let scenario = Scenario::read(&directory().join(file), true).unwrap();
    assert!(!scenario.expect.is_empty());
    let report = run(&scenario, |_| {}).unwrap();
    assert!(report.holds(), "{}", report.table());
    for rounds in ["revisits", "lost.loop"] {
        assert_eq!(report.measures[rounds], 0.0, "{file}: frames go round");
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

/// Scenarios that are too large for a test are at least read.
#[test]
fn every_shipped_scenario_can_be_read() {
    let files: BTreeSet<_> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    for file in &files {
        Scenario::read(&directory().join(file), false).unwrap();
        let small = Scenario::read(&directory().join(file), true);
        assert_eq!(small.is_ok(), TESTED.contains(&file.as_str()), "{file}");
    }
    assert!(TESTED.iter().all(|file| files.contains(*file)));
}
