//! The options of a URI.

use std::fmt;
use std::time::Duration;

use pinecone_wire::PublicKey;

use super::error::AddressError;
use super::scheme::Scheme;

const KEY: &str = "key";
const MAX_BACKOFF: &str = "maxbackoff";
const PRIORITY: &str = "priority";
const SNI: &str = "sni";
const INTERFACE: &str = "interface";

const OF_PEERS: &str = "key=, maxbackoff=, priority=, sni= or interface=";
const OF_LISTENERS: &str = "key=, priority= or interface=";

/// The least and the longest wait between two dials.
const BACKOFF: (Duration, Duration) = (
    Duration::from_millis(10),
    Duration::from_secs(365 * 24 * 60 * 60),
);
/// The longest name of an interface in Linux, in bytes.
const MAX_INTERFACE: usize = 15;
/// The longest name in DNS, in bytes.
const MAX_NAME: usize = 253;

/// The options of a URI. [`PeerUri`](super::PeerUri) documents them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Options {
    pub(crate) key: Option<PublicKey>,
    pub(crate) max_backoff: Option<Duration>,
    pub(crate) priority: u8,
    pub(crate) sni: Option<String>,
    pub(crate) interface: Option<String>,
}

impl Options {
    /// Parses the options of a peer. `address` is the whole URI, for errors.
    pub(super) fn of_peer(
        query: Option<&str>,
        scheme: Scheme,
        address: &str,
    ) -> Result<Self, AddressError> {
        Self::read(query, address, OF_PEERS, |option| match option {
            SNI if !scheme.has_tls() => Some("tls:// and wss://"),
            _ => None,
        })
    }

    /// Parses the options of a listener.
    pub(super) fn of_listener(
        query: Option<&str>,
        _scheme: Scheme,
        address: &str,
    ) -> Result<Self, AddressError> {
        Self::read(query, address, OF_LISTENERS, |option| match option {
            SNI | MAX_BACKOFF => Some("peers that are dialled"),
            _ => None,
        })
    }

    /// Reports whether no option is set.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Parses options. `inapplicable` returns what an option applies to, if it does not apply here.
    fn read(
        query: Option<&str>,
        address: &str,
        known: &'static str,
        inapplicable: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Self, AddressError> {
        let mut options = Self::default();
        let mut seen = Vec::new();
        for item in query.into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            let all = [KEY, MAX_BACKOFF, PRIORITY, SNI, INTERFACE];
            let option = all.into_iter().find(|option| *option == name);
            let option = option.ok_or_else(|| AddressError::Option {
                address: address.to_owned(),
                option: name.to_owned(),
                known,
            })?;
            let address = || address.to_owned();
            if let Some(applies_to) = inapplicable(option) {
                return Err(AddressError::Inapplicable {
                    address: address(),
                    option,
                    applies_to,
                });
            }
            if seen.contains(&option) {
                return Err(AddressError::Repeated {
                    address: address(),
                    option,
                });
            }
            seen.push(option);
            options
                .set(option, value)
                .map_err(|expected| AddressError::Value {
                    address: address(),
                    option,
                    value: value.to_owned(),
                    expected,
                })?;
        }
        Ok(options)
    }

    /// Sets an option. Fails with the values that it may have.
    fn set(&mut self, option: &str, value: &str) -> Result<(), &'static str> {
        match option {
            KEY => self.key = Some(key(value).ok_or("a public key of 64 hexadecimal digits")?),
            MAX_BACKOFF => {
                let wait = backoff(value);
                self.max_backoff =
                    Some(wait.ok_or("a time from 10ms to 365days, such as 30s or 5m")?);
            }
            PRIORITY => {
                let priority = value.bytes().all(|byte| byte.is_ascii_digit());
                let priority = priority.then(|| value.parse().ok()).flatten();
                self.priority = priority.ok_or("a number from 0 to 255")?;
            }
            SNI => {
                let is_name = is_dns_name(value);
                self.sni = Some(is_name.then(|| value.to_owned()).ok_or("a DNS name")?);
            }
            _ => {
                let is_name = is_interface(value);
                let name = is_name.then(|| value.to_owned());
                self.interface = Some(name.ok_or("the name of a network interface, such as eth0")?);
            }
        }
        Ok(())
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = '?';
        let mut option = |name: &str, value: Option<&dyn fmt::Display>| {
            let Some(value) = value else {
                return Ok(());
            };
            write!(f, "{separator}{name}={value}")?;
            separator = '&';
            Ok(())
        };
        // `1m 30s` is written without the space.
        let wait = self.max_backoff.map(humantime::format_duration);
        let wait = wait.map(|wait| wait.to_string().replace(' ', ""));
        option(KEY, self.key.as_ref().map(|key| key as _))?;
        option(MAX_BACKOFF, wait.as_ref().map(|wait| wait as _))?;
        option(PRIORITY, (self.priority > 0).then_some(&self.priority as _))?;
        option(SNI, self.sni.as_ref().map(|name| name as _))?;
        option(INTERFACE, self.interface.as_ref().map(|name| name as _))
    }
}

fn key(text: &str) -> Option<PublicKey> {
    // `parse` would accept spaces.
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| text.parse().ok()).flatten()
}

fn backoff(text: &str) -> Option<Duration> {
    // `parse_duration` would accept spaces.
    let is_time = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let wait = is_time.then(|| humantime::parse_duration(text).ok());
    let (least, longest) = BACKOFF;
    (wait.flatten()).filter(|wait| (least..=longest).contains(wait))
}

fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(letters)
    };
    text.len() <= MAX_NAME && text.split('.').all(is_label)
}

fn is_interface(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@+".contains(&byte);
    (1..=MAX_INTERFACE).contains(&text.len()) && text.bytes().all(letter)
}
