/// A malformed address. The text is one line that says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The port is missing or not from 1 to 65535 (0 to 65535 for listening).
    #[error("{0:?} has no valid port: write host:port or [IPv6]:port, with a port up to 65535")]
    Port(String),
    /// The host before the port is missing, or has a character that no host has.
    #[error("{0:?} has no valid host: write host:port or [IPv6]:port")]
    Host(String),
    /// An IPv6 address lacks brackets, or something else is in brackets.
    #[error("{0:?} is malformed: write an IPv6 address in brackets, as in [2001:db8::1]:65432")]
    Brackets(String),
    /// There is no such scheme.
    #[error(
        "{address:?}: unknown scheme {scheme:?}: write tcp://, tls://, ws:// or wss://, or host:port \
         for plain TCP"
    )]
    Scheme {
        /// The whole address.
        address: String,
        /// The scheme.
        scheme: String,
    },
    /// The path is malformed, or the scheme has none.
    #[error("{address:?} has no valid path: {problem}")]
    Path {
        /// The whole address.
        address: String,
        /// The mistake, and what to write.
        problem: &'static str,
    },
    /// There is no such option.
    #[error("{address:?}: unknown option {option:?}: write {known}")]
    Option {
        /// The whole address.
        address: String,
        /// The name of the option.
        option: String,
        /// The options that exist.
        known: &'static str,
    },
    /// An option has a malformed value.
    #[error("{address:?}: {option}={value} is malformed: write {expected}")]
    Value {
        /// The whole address.
        address: String,
        /// The name of the option.
        option: &'static str,
        /// The value.
        value: String,
        /// The values that the option may have.
        expected: &'static str,
    },
    /// An option is given twice.
    #[error("{address:?}: {option}= is given twice: write it once")]
    Repeated {
        /// The whole address.
        address: String,
        /// The name of the option.
        option: &'static str,
    },
    /// An option does not apply to this scheme, or not to listening.
    #[error("{address:?}: {option}= applies to {applies_to} only: omit it")]
    Inapplicable {
        /// The whole address.
        address: String,
        /// The name of the option.
        option: &'static str,
        /// The kind of URI that it applies to.
        applies_to: &'static str,
    },
}

impl AddressError {
    pub(super) fn path(address: &str, problem: &'static str) -> Self {
        Self::Path {
            address: address.to_owned(),
            problem,
        }
    }
}
