//! `pinecone bench` against daemons.

use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, Start, run, wait_until};

/// Runs the benchmark with these arguments and `--json`. It must succeed.
fn report(through: &str, arguments: &[&str]) -> Value {
    let home = TempDir::new().unwrap();
    let all = [&["bench", "--json", "--through", through], arguments].concat();
    let output = run(home.path(), &all);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts that all frames arrived in order and undamaged, as they do at a rate far below the capacity of a node.
fn assert_nothing_lost(report: &Value) {
    for name in ["lost", "reordered", "duplicates", "strange"] {
        assert_eq!(report[name], 0, "{name}: {report}");
    }
    assert_eq!(report["sent"], report["received"], "{report}");
    assert_eq!(report["loss"], 0.0, "{report}");
    let times = ["p50", "p90", "p99", "p999", "max"].map(|name| {
        let time = report["latency_us"][name].as_f64();
        time.unwrap_or_else(|| panic!("{name}: {report}"))
    });
    assert!(times[0] > 0.0 && times.is_sorted(), "{report}");
}

/// Asserts one line on standard error and nothing on standard output.
fn assert_fails(output: &Output, code: i32, words: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(output.stdout.is_empty(), "{output:?}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is missing: {error}");
    }
}

#[test]
fn a_paced_load_goes_through_a_daemon_whole() {
    let daemon = Daemon::start();
    let arguments = ["--rate", "2000", "--seconds", "2", "--size", "600"];
    let report = report(daemon.address(), &arguments);
    assert_nothing_lost(&report);
    let (sent, left_out) = (
        report["sent"].as_u64().unwrap(),
        report["left_out"].as_u64().unwrap(),
    );
    // Frames that a busy machine was too late for are omitted and reported.
    let due = (2000.0 * report["seconds"].as_f64().unwrap()) as u64;
    assert!(
        (due - 60..=due + 60).contains(&(sent + left_out)),
        "{report}"
    );
    assert_eq!(report["frame_bytes"], 600 + 113, "{report}");
    let rate = report["frames_per_second"].as_f64().unwrap();
    let bits = report["gbit_per_second"].as_f64().unwrap();
    assert!((bits - rate * 713.0 * 8e-9).abs() < 1e-9, "{report}");
    let node = &report["nodes"][0];
    assert_eq!(report["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(node["key"], daemon.key.to_string(), "{report}");
    assert_eq!(node["process"]["pid"], daemon.process_id(), "{report}");
    assert!(node["process"]["us_per_frame"].is_f64(), "{report}");

    // The daemon has counted them too, and both peers have left.
    assert!(daemon.counter("bootstraps") >= 2);
    wait_until("the peers to leave", || {
        let status = daemon.status();
        match status["peers"].as_array().unwrap().len() {
            0 => Ok(()),
            _ => Err(status),
        }
    });
}

#[test]
fn two_daemons_in_a_row() {
    let first = Start {
        seed: Some(1),
        ..Start::default()
    }
    .run();
    let second = first.start_peer();
    let through = format!("{},{}", first.address(), second.address());
    let report = report(
        &through,
        &["--rate", "1000", "--seconds", "1", "--pairs", "2"],
    );
    assert_nothing_lost(&report);
    let keys = [&first, &second].map(|daemon| Value::from(daemon.key.to_string()));
    assert_eq!(
        [&report["nodes"][0]["key"], &report["nodes"][1]["key"]],
        [&keys[0], &keys[1]]
    );
}

#[test]
fn at_full_rate_every_frame_is_received_or_lost() {
    let daemon = Daemon::start();
    for size in ["40", "65000"] {
        let report = report(daemon.address(), &["--seconds", "1", "--size", size]);
        let number = |name: &str| report[name].as_u64().unwrap();
        assert!(number("received") > 0, "{report}");
        assert_eq!(
            number("sent"),
            number("received") + number("lost"),
            "{report}"
        );
        assert_eq!((number("reordered"), number("strange")), (0, 0), "{report}");
        assert!(report["rate"].is_null(), "{report}");
    }
}

#[test]
fn sampled_checks_count_all_frames() {
    let daemon = Daemon::start();
    for (size, rate) in [
        ("40", "max"),
        ("1200", "max"),
        ("65000", "max"),
        ("600", "2000"),
    ] {
        let arguments = ["--seconds", "1", "--size", size, "--rate", rate];
        let arguments = [&["--check", "sampled"], &arguments[..]].concat();
        let report = report(daemon.address(), &arguments);
        let number = |name: &str| report[name].as_u64().unwrap();
        assert_eq!(report["check"], "sampled");
        let all = number("received") + number("lost");
        // Protocol frames among the skipped ones may be counted as traffic.
        assert!(number("sent").abs_diff(all) <= 10, "{report}");
        assert!(number("skipped") <= number("received"), "{report}");
        assert_eq!((number("reordered"), number("strange")), (0, 0), "{report}");
        if rate != "max" {
            assert!(number("lost") <= 10, "{report}");
        }
    }
}

#[test]
fn people_get_a_line_a_second_and_a_summary() {
    let daemon = Daemon::start();
    let home = TempDir::new().unwrap();
    let arguments = ["--rate", "500", "--seconds", "2", "--flows", "3"];
    let all = [&["bench", "--through", daemon.address()][..], &arguments].concat();
    let output = run(home.path(), &all);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines = |part| text.lines().filter(|line| line.contains(part)).count();
    assert!(text.starts_with("BENCH through"), "{text}");
    assert_eq!(lines(" lost"), 2, "{text}");
    for part in [
        "throughput",
        "p99.9",
        "node CPU",
        "0 reordered",
        "(0.000 %)",
    ] {
        assert_eq!(lines(part), 1, "{part}: {text}");
    }
}

#[test]
fn nodes_of_two_networks_have_no_way_between_them() {
    let (one, other) = (Daemon::start(), Daemon::start());
    let home = TempDir::new().unwrap();
    let through = format!("{},{}", one.address(), other.address());
    let output = run(home.path(), &["bench", "--through", &through]);
    let roots = [one.key.short(), other.key.short()];
    assert_fails(&output, 1, &["not in one network", &roots[0], &roots[1]]);
}

#[test]
fn a_bench_that_cannot_run_fails_with_one_line() {
    let home = TempDir::new().unwrap();
    let bench = |arguments: &[&str]| run(home.path(), &[&["bench"], arguments].concat());
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    assert_fails(
        &bench(&["--through", &address]),
        1,
        &[&address, "check that a node listens there"],
    );
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap().to_string();
    let hangs_up = std::thread::spawn(move || drop(stranger.accept().unwrap()));
    assert_fails(
        &bench(&["--through", &address]),
        1,
        &["not a Pinecone node"],
    );
    hangs_up.join().unwrap();
    for (arguments, words) in [
        (&[][..], &["--through"][..]),
        (&["--through", "nonsense"], &["--through", "host:port"]),
        (&["--through", "a:0"], &["host:port"]),
        (&["--through", "a:1,b:1,c:1"], &["one address, or two"]),
        (&["--through", "a:1", "--rate", "fast"], &["--rate", "max"]),
        (&["--through", "a:1", "--rate", "0"], &["--rate"]),
        (&["--through", "a:1", "--size", "16"], &["--size"]),
        (&["--through", "a:1", "--size", "65001"], &["--size"]),
        (&["--through", "a:1", "--flows", "0"], &["--flows"]),
        (&["--through", "a:1", "--check", "none"], &["--check"]),
        (
            &["--through", "a:1", "--flows", "1", "--pairs", "2"],
            &["every sender needs a flow"],
        ),
        (&["--through", "a:1", "--seconds", "0"], &["--seconds"]),
    ] {
        assert_fails(&bench(arguments), 2, words);
    }
}

#[test]
fn a_node_that_goes_away_ends_the_run() {
    let daemon = Daemon::start();
    let home = TempDir::new().unwrap();
    let address = daemon.address().to_owned();
    let bench = std::thread::spawn(move || {
        let arguments = [
            "bench",
            "--json",
            "--through",
            &address,
            "--rate",
            "100",
            "--seconds",
            "600",
        ];
        run(home.path(), &arguments)
    });
    wait_until("the peers to come", || {
        let status = daemon.status();
        match status["peers"].as_array().unwrap().len() {
            2 => Ok(()),
            _ => Err(status),
        }
    });
    let address = daemon.address().to_owned();
    drop(daemon);
    assert_fails(
        &bench.join().unwrap(),
        1,
        &["the peering with", &address, "ended"],
    );
}
