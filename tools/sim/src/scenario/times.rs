//! Times as scenarios write them: `"30s"`, `"250ms"`, or the least and the most.

use serde::{Deserialize, Deserializer};

use crate::time::{Nanos, nanos};

pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Nanos, D::Error> {
    let text = String::deserialize(from)?;
    parse_time(&text).map_err(serde::de::Error::custom)
}

pub(super) fn some_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Nanos>, D::Error> {
    time(from).map(Some)
}

/// One time, or the least and the most.
pub(super) fn range<'de, D: Deserializer<'de>>(from: D) -> Result<(Nanos, Nanos), D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Range {
        One(String),
        Two(String, String),
    }
    let (low, high) = match Range::deserialize(from)? {
        Range::One(both) => (both.clone(), both),
        Range::Two(low, high) => (low, high),
    };
    let parse = |text: &str| parse_time(text).map_err(serde::de::Error::custom);
    let (low, high) = (parse(&low)?, parse(&high)?);
    match low <= high {
        true => Ok((low, high)),
        false => Err(serde::de::Error::custom("the least is more than the most")),
    }
}

pub(super) fn some_range<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<(Nanos, Nanos)>, D::Error> {
    range(from).map(Some)
}

fn parse_time(text: &str) -> Result<Nanos, String> {
    humantime::parse_duration(text)
        .map(nanos)
        .map_err(|error| format!("`{text}` is no time: {error}; write \"30s\" or \"250ms\""))
}
