//! Helpers for the tests of all crates.
//!
//! A helper that only one crate needs stays in that crate. This one depends on no other of the workspace.

use std::fmt::Display;
use std::io::Write;

/// The environment variable that lists, separated by commas, what tests must not be skipped for.
pub const REQUIRE: &str = "PINECONE_REQUIRE";

/// Something of the machine that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Memory cgroups that can be made.
    Cgroups,
    /// The library libfaketime.
    Faketime,
    /// A Go node.
    GoNode,
    /// io_uring.
    IoUring,
    /// IPv6.
    Ipv6,
    /// A kernel that bounds the time between two retransmissions.
    RtoMax,
    /// Network namespaces, and the links in them that the test needs.
    Namespaces,
    /// The programs prlimit and setpriv.
    Privileges,
}

impl Need {
    /// Returns its name in [`REQUIRE`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cgroups => "cgroups",
            Self::Faketime => "faketime",
            Self::GoNode => "go_node",
            Self::IoUring => "io_uring",
            Self::Ipv6 => "ipv6",
            Self::RtoMax => "rto_max",
            Self::Namespaces => "namespaces",
            Self::Privileges => "privileges",
        }
    }
}

/// Says that the calling test, or a part of it, is skipped. The caller returns after it.
///
/// # Panics
/// [`REQUIRE`] lists the need.
pub fn skip(need: Need, reason: impl Display) {
    let name = need.name();
    let required = std::env::var(REQUIRE).unwrap_or_default();
    assert!(
        !required.split(',').any(|one| one.trim() == name),
        "{REQUIRE} lists {name}, which is missing: {reason}"
    );
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Past the capture of output, which keeps that of tests that pass.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {name}: {reason}");
}
