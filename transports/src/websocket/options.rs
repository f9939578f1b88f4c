//! Options of listeners.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use pinecone_wire::timing::HANDSHAKE_TIMEOUT;
use tungstenite::http::uri::PathAndQuery;

use super::error::OptionError;

/// Options of [`accept`](super::accept).
#[derive(Clone, Debug)]
pub struct AcceptOptions {
    /// The paths that upgrade. Default: `/` and `/ws`.
    pub paths: Vec<UpgradePath>,
    /// The reverse proxies whose headers are believed. Default: none.
    pub trusted: TrustedProxies,
    /// Time for the whole upgrade. Default: 10 s.
    pub time_limit: Duration,
}

impl Default for AcceptOptions {
    fn default() -> Self {
        Self {
            paths: ["/", "/ws"].map(|path| UpgradePath(path.into())).into(),
            trusted: TrustedProxies::default(),
            time_limit: HANDSHAKE_TIMEOUT,
        }
    }
}

/// The path of a URL, without query. Requests must have the same characters: percent signs are not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradePath(String);

impl UpgradePath {
    /// Returns the path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UpgradePath {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let is_path = text.starts_with('/')
            && !text.contains('#')
            && text
                .parse::<PathAndQuery>()
                .is_ok_and(|parsed| parsed.query().is_none());
        match is_path {
            true => Ok(Self(text.to_owned())),
            false => Err(OptionError::Path(text.to_owned())),
        }
    }
}

/// Networks of reverse proxies whose `Forwarded` and `X-Forwarded-For` headers are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Adds a network, as in `10.0.0.0/8`, or a single address.
    ///
    /// # Errors
    /// The text is neither.
    pub fn add(&mut self, text: &str) -> Result<(), OptionError> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address.to_canonical()),
            Err(_) => text
                .parse()
                .map_err(|_| OptionError::Network(text.to_owned()))?,
        };
        self.0.push(network);
        Ok(())
    }

    /// Reports whether a proxy at this address is believed.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}
