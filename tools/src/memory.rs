//! Checks of limits against the available memory.

use pinecone::MemoryLimit;

use crate::cli::RunOptions;

/// Approximate size of a stored item, in bytes.
const EACH: u64 = 512;
/// Bytes that a peer may occupy with a partial frame.
const PEER: u64 = 64 << 10;

/// Describes the limit on the queues of all peers, with the reason.
pub(crate) fn describe(given: bool, queue: usize, memory: Option<MemoryLimit>) -> String {
    let why = match memory {
        _ if given => "given with --queue".to_owned(),
        Some(memory) => format!("an eighth of {memory}, 256 MiB at most"),
        None => "the size of the memory is unknown".to_owned(),
    };
    format!("{} KiB of traffic at most ({why})", queue >> 10)
}

/// Returns the limits, with their values, that were lowered to fit the memory and not set by the user.
pub(crate) fn lowered(
    usual: Vec<(&'static str, u64)>,
    now: Vec<(&'static str, u64)>,
    set: &[(String, u64)],
) -> Vec<String> {
    let pairs = usual.into_iter().zip(now);
    pairs
        .filter(|((_, usual), (_, now))| now < usual)
        .filter(|((name, _), _)| set.iter().all(|(other, _)| other != name))
        .map(|(_, (name, now))| format!("{name} {now}"))
        .collect()
}

/// Warns of limits that exceed the memory.
pub(crate) fn warn(options: &RunOptions, queue: usize, memory: Option<MemoryLimit>) {
    let port_queue = options.port_queue.saturating_mul(1024);
    for warning in warnings(port_queue, queue, &options.limit, memory) {
        tracing::warn!("{warning}");
    }
}

fn warnings(
    port_queue: usize,
    queue: usize,
    limits: &[(String, u64)],
    memory: Option<MemoryLimit>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(memory) = memory else {
        return warnings;
    };
    let mut check = |what: String, bytes: u64| {
        if bytes > memory.bytes {
            let needs = bytes >> 20;
            warnings.push(format!(
                "{what} may take {needs} MiB, more than {memory}: choose a lower value"
            ));
        }
    };
    check(format!("--queue {}", queue >> 10), queue as u64);
    check(
        format!("--port-queue {}", port_queue >> 10),
        port_queue as u64,
    );
    for (name, value) in limits {
        let bytes = match name.as_str() {
            // Limits of one peer, or of something that takes no memory.
            name if !name.starts_with("max-") || name.ends_with("-per-peer") => continue,
            name if name.contains("bytes") => *value,
            "max-peers" => value.saturating_mul(PEER),
            "max-sequence-lead" | "max-break-notices" | "max-root-changes" | "max-root-flaps"
            | "max-offences" => continue,
            _ => value.saturating_mul(EACH),
        };
        check(format!("--limit {name}={value}"), bytes);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowered_limits_are_named_unless_they_were_set() {
        let usual = vec![("max-peers", 100), ("max-routes", 100), ("max-offences", 3)];
        let now = vec![("max-peers", 64), ("max-routes", 50), ("max-offences", 3)];
        let set = [("max-routes".to_owned(), 70)];
        assert_eq!(lowered(usual, now, &set), ["max-peers 64"]);
    }

    #[test]
    fn limits_that_exceed_the_memory_are_warned_of() {
        let memory = Some(MemoryLimit {
            bytes: 32 << 20,
            is_cgroup: true,
        });
        let limits = |name: &str, value| [(name.to_owned(), value)];
        let of = |port_queue, queue, limits: &[_]| warnings(port_queue, queue, limits, memory);
        assert_eq!(of(4 << 20, 4 << 20, &limits("max-routes", 10_000)), [""; 0]);
        assert_eq!(
            of(64 << 20, 4 << 20, &[]),
            [
                "--port-queue 65536 may take 64 MiB, more than the cgroup's limit of 32 MiB: choose a lower value"
            ]
        );
        assert!(of(0, 64 << 20, &[])[0].starts_with("--queue 65536 may take 64 MiB"));
        for (name, value) in [("max-routes", 1_000_000), ("max-pending-bytes", 64 << 20)] {
            let text = format!("--limit {name}={value} may take ");
            assert!(
                of(0, 0, &limits(name, value))[0].starts_with(&text),
                "{name}"
            );
        }
        assert_eq!(of(0, 0, &limits("max-sequence-lead", 1 << 40)), [""; 0]);
    }
}
