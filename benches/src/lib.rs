//! Shared parts of the benches: repeatable random numbers, table sizes and frames.
//!
//! `cargo bench -p pinecone-benches` runs all benches; `-- FILTER` selects some. With `-- --test`, or by
//! `cargo test -p pinecone-benches --benches`, each bench runs once with the smallest tables, to show
//! that it works. `PINECONE_BENCH_ROUTES` sets other table sizes, such as `1000,250000`.

use std::sync::OnceLock;

use pinecone_load::{LoadFrame, push_frame};
use pinecone_wire::{BuildError, PublicKey, Watermark};

/// A sequence of pseudorandom numbers that is the same in every run.
#[derive(Clone, Debug)]
pub struct Random(pinecone_testing::Random);

impl Random {
    /// Creates the sequence of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(pinecone_testing::Random::new(seed))
    }

    /// Returns the next number.
    #[must_use]
    pub const fn number(&mut self) -> u64 {
        self.0.number()
    }

    /// Returns the next 32 bytes as a key. About half of such keys are points of the curve.
    #[must_use]
    pub fn key(&mut self) -> PublicKey {
        PublicKey(self.0.bytes())
    }

    /// Returns a key whose first 64 bits are those of all other such keys.
    #[must_use]
    pub fn key_sharing_64_bits(&mut self) -> PublicKey {
        let mut key = self.key();
        key.0[..8].copy_from_slice(&[0x5a; 8]);
        key
    }
}

/// Reports whether criterion runs every bench once instead of measuring: because of `--test`, or by
/// `cargo test`, which does not pass `--bench`.
#[must_use]
pub fn is_smoke_run() -> bool {
    static SMOKE: OnceLock<bool> = OnceLock::new();
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    *SMOKE.get_or_init(|| given("--test") || !given("--bench"))
}

/// Returns the numbers of routes to measure with.
///
/// # Panics
/// `PINECONE_BENCH_ROUTES` is not a comma-separated list of numbers.
#[must_use]
pub fn route_counts() -> Vec<usize> {
    match std::env::var("PINECONE_BENCH_ROUTES") {
        Ok(list) => list
            .split(',')
            .map(|n| match n.trim().parse() {
                Ok(count) => count,
                Err(error) => panic!("PINECONE_BENCH_ROUTES: {n:?}: {error}"),
            })
            .collect(),
        Err(_) if is_smoke_run() => vec![1000],
        Err(_) => vec![1000, 100_000, 1_000_000],
    }
}

/// Returns a traffic frame for `to` with `size` bytes of payload, whose watermark is that of a route
/// with sequence 7.
///
/// # Errors
/// [`BuildError`] if the payload does not fit a frame.
pub fn traffic_frame(to: PublicKey, size: usize) -> Result<Vec<u8>, BuildError> {
    let mut frame = Vec::new();
    let fields = LoadFrame {
        destination: to,
        source: PublicKey([0x11; 32]),
        watermark: Watermark {
            key: to,
            sequence: 7,
        },
        payload: &vec![0x5a; size],
    };
    push_frame(&mut frame, &fields)?;
    Ok(frame)
}
