//! Hosts with wrong clocks, in a line of network namespaces.
//!
//! Network namespaces share the time of day, so libfaketime shifts it for single processes.

use pinecone_testing::{Need, skip};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::daemon::{Daemon, wait_until};
use crate::namespaces::{HOSTS, Hosts, all_pairs_ping};

const DAY: i64 = 24 * 60 * 60;

fn libfaketime() -> Option<PathBuf> {
    let architectures = std::fs::read_dir("/usr/lib").ok()?;
    let mut paths = architectures
        .flatten()
        .map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"));
    paths.find(|path| path.exists())
}

/// Starts the hosts with their clocks ahead by these numbers of days.
fn start(hosts: &Hosts, library: &Path, days_ahead: [i64; HOSTS]) -> Vec<Daemon> {
    let library = library.to_str().unwrap();
    let start = |(host, days): (usize, i64)| {
        let shift = format!("{days:+}d");
        let shifted = [
            ("LD_PRELOAD", library),
            ("FAKETIME", shift.as_str()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        let environment = if days == 0 { &[][..] } else { &shifted };
        hosts.start_in(host, 1 + host as u8, environment)
    };
    days_ahead.into_iter().enumerate().map(start).collect()
}

fn reach_each_other(what: &str, test: &str, days_ahead: [i64; HOSTS]) {
    let Some(library) = libfaketime() else {
        skip(Need::Faketime, "it is not installed");
        return;
    };
    let hosts = match Hosts::new(test) {
        Ok(hosts) => hosts,
        Err(reason) => {
            skip(Need::Namespaces, reason);
            return;
        }
    };
    let begin = Instant::now();
    let daemons = start(&hosts, &library, days_ahead);
    all_pairs_ping(what, begin, &daemons.iter().collect::<Vec<_>>());
    for (daemon, days) in daemons.iter().zip(days_ahead) {
        if days == 0 {
            continue;
        }
        let behind = wait_until("the clock in the status", || {
            let status = daemon.status();
            status["clock_behind_seconds"].as_i64().ok_or("not there")
        });
        assert!(
            (behind + days * DAY).abs() < 60,
            "{behind} s, {days} days ahead"
        );
        let side = if days > 0 { "ahead of" } else { "behind" };
        daemon.wait_for_log(&format!("this node's clock is {side} the network's"));
    }
}

#[test]
fn a_host_whose_clock_is_two_days_behind_carries_others() {
    reach_each_other("with the middle behind", "behind", [0, 0, -2, 0, 0]);
}

#[test]
fn hosts_whose_clocks_are_wrong_are_reached() {
    reach_each_other("with the ends wrong", "ends", [2, 0, 0, 0, -30]);
}
