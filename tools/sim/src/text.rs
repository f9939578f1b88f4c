//! Texts in scenarios: an error says what to write where something else stands.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// Reads a text. For anything else, the error asks for `expected`, such as "a time in quotes, like
/// \"30s\"".
pub(crate) fn text<'de, D: Deserializer<'de>>(
    from: D,
    expected: &'static str,
) -> Result<String, D::Error> {
    from.deserialize_str(Text(expected))
}

struct Text(&'static str);

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}
