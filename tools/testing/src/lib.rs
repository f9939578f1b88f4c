//! Test helpers that several crates share.
//!
//! This crate depends on no other crate of the workspace. A helper that only one crate needs belongs in that
//! crate.

mod random;

use std::fmt::Display;
use std::io::Write;

pub use self::random::Random;

/// The environment variable that lists the needs, separated by commas, for which no test may be skipped.
pub const REQUIRE: &str = "PINECONE_REQUIRE";

/// A property of the machine without which a test cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Permission to create memory cgroups.
    Cgroups,
    /// The library libfaketime.
    Faketime,
    /// A program of the deployed node, which is written in Go.
    GoNode,
    /// io_uring.
    IoUring,
    /// IPv6.
    Ipv6,
    /// A kernel that limits the time between two retransmissions of TCP.
    RtoMax,
    /// The program openssl.
    OpenSsl,
    /// Permission to create network namespaces, and the links in them that the test needs.
    Namespaces,
    /// The programs prlimit and setpriv.
    Privileges,
}

impl Need {
    /// Returns the name of the need in [`REQUIRE`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroups => "cgroups",
            Self::Faketime => "faketime",
            Self::GoNode => "go_node",
            Self::IoUring => "io_uring",
            Self::Ipv6 => "ipv6",
            Self::RtoMax => "rto_max",
            Self::OpenSsl => "openssl",
            Self::Namespaces => "namespaces",
            Self::Privileges => "privileges",
        }
    }
}

/// Reports that the calling test, or a part of it, is skipped. The caller returns afterwards.
///
/// # Panics
/// [`REQUIRE`] lists the need, so that the test fails instead.
pub fn skip(need: Need, reason: impl Display) {
    let name = need.name();
    let required = std::env::var(REQUIRE).unwrap_or_default();
    assert!(
        !required.split(',').any(|one| one.trim() == name),
        "{REQUIRE} lists {name}, which is missing: {reason}"
    );
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Written to stderr directly: the test harness would hide what a passing test prints.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {name}: {reason}");
}
