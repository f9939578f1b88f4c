//! Splitting a URI into its parts.

use super::error::AddressError;
use super::scheme::Scheme;

/// The parts of a URI.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) scheme: Scheme,
    /// The host and the port.
    pub(super) authority: &'a str,
    /// Empty, or from the first slash on.
    pub(super) path: &'a str,
    /// The text after the question mark, if there is one.
    pub(super) query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Splits a URI that has no spaces around it.
    pub(super) fn split(text: &'a str) -> Result<Self, AddressError> {
        let (scheme, rest) = match text.split_once("://") {
            None => (None, text),
            Some((name, rest)) => {
                let scheme = Scheme::find(name).ok_or_else(|| AddressError::Scheme {
                    address: text.to_owned(),
                    scheme: name.to_owned(),
                })?;
                (Some(scheme), rest)
            }
        };
        let (rest, query) = match rest.split_once('?') {
            None => (rest, None),
            Some((rest, query)) => (rest, Some(query)),
        };
        let (authority, path) = match (scheme, rest.find('/')) {
            // Without a scheme there is no path, so that `a/b:1` is a mistake in the host.
            (Some(_), Some(slash)) => rest.split_at(slash),
            _ => (rest, ""),
        };
        if !path.bytes().all(is_of_path) {
            let problem =
                "write it with letters, digits and -._~/!$&'()*+;=:@ and %XX for all else";
            return Err(AddressError::path(text, problem));
        }
        Ok(Self {
            scheme: scheme.unwrap_or(Scheme::Tcp),
            authority,
            path,
            query,
        })
    }
}

/// Reports whether a byte may stand in a path (RFC 3986, section 3.3). A comma must be written `%2C`, as it
/// separates the URIs of a list.
fn is_of_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+;=:@%".contains(&byte)
}
