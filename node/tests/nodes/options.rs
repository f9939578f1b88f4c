//! Options that are out of range: the start fails with an error that names the option.

use std::time::Duration;

use pinecone::{Builder, NodeOptions, StartError};

/// Starts a node with an option that is out of range, and checks that the error names it.
fn refused(option: &str, change: impl FnOnce(&mut NodeOptions)) {
    let mut options = NodeOptions::default();
    change(&mut options);
    let error = Builder::from(options).start_blocking().unwrap_err();
    let StartError::Option(found) = &error else {
        panic!("{option}: {error}");
    };
    assert_eq!(found.option, option);
    let text = error.to_string();
    assert!(text.contains(option), "{text}");
    assert!(!text.contains('\n') && !text.contains("--"), "{text}");
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    refused("verify_threads", |o| o.verify_threads = 100_000);
    for interval in [Duration::ZERO, Duration::MAX] {
        refused("bandwidth_interval", |o| o.bandwidth_interval = interval);
    }
    for dials in [0, usize::MAX] {
        refused("max_dials", |o| o.transport_limits.max_dials = dials);
    }
    for time in [Duration::ZERO, Duration::MAX] {
        refused("handshake_timeout", |o| {
            o.transport_limits.handshake_timeout = time;
        });
        refused("connect_timeout", |o| {
            o.transport_limits.connect_timeout = time;
        });
        refused("lookup_timeout", |o| {
            o.transport_limits.lookup_timeout = time;
        });
        refused("longest_wait", |o| o.dial_schedule.longest_wait = time);
    }
    refused("spread", |o| o.dial_schedule.spread = Duration::MAX);
    refused("max_segment", |o| o.transport_limits.max_segment = Some(1));
    refused("wakeup_hops", |o| o.control.wakeup_hops = 0);
    refused("wakeup_phase", |o| {
        o.control.wakeup_phase = Some(Duration::MAX);
    });
    refused("max_routes", |o| o.control.max_routes = usize::MAX);
    refused("offence_window", |o| {
        o.control.offence_window = Duration::MAX;
    });
}

#[test]
fn values_at_the_ends_of_their_range_are_accepted() {
    for interval in [10, 365 * 24 * 60 * 60 * 1000] {
        let options = NodeOptions {
            bandwidth_interval: Duration::from_millis(interval),
            ..NodeOptions::default()
        };
        let node = Builder::from(options).start_blocking().unwrap();
        node.close_blocking();
    }
}

#[test]
fn the_secret_key_is_not_printed() {
    let seed = [0xab; 32];
    let key = pinecone::SecretKey::from_seed(&seed);
    let builder = pinecone::Node::builder().secret_key(key.clone());
    let text = format!("{builder:?}");
    assert!(text.contains(&key.public_key().to_string()), "{text}");
    assert!(!text.contains("abababab") && !text.contains("171, 171"));
}
