//! Times in scenarios, such as `"30s"` or `"250ms"`, and ranges of times.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::time::{Nanos, nanos};

/// The longest time that a scenario can name. Sums of times cannot overflow below it.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads a time that may be zero.
pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Nanos, D::Error> {
    let text = String::deserialize(from)?;
    parse_time(&text).map_err(serde::de::Error::custom)
}

/// Reads a time above zero.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Nanos, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

pub(super) fn some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Nanos>, D::Error> {
    duration(from).map(Some)
}

/// Reads a range of times above zero, written as one time or as the least and the most.
pub(super) fn range<'de, D: Deserializer<'de>>(from: D) -> Result<(Nanos, Nanos), D::Error> {
    #[derive(Deserialize)]
    #[serde(
        untagged,
        expecting = "write one time, like \"5ms\", or the least and the most, like [\"1ms\", \"9ms\"]"
    )]
    enum Range {
        One(String),
        Two(String, String),
    }
    let (low, high) = match Range::deserialize(from)? {
        Range::One(both) => (both.clone(), both),
        Range::Two(low, high) => (low, high),
    };
    let parse = |text: &str| parse_duration(text).map_err(serde::de::Error::custom);
    let (least, most) = (parse(&low)?, parse(&high)?);
    match least <= most {
        true => Ok((least, most)),
        false => Err(serde::de::Error::custom(format!(
            "the least, `{low}`, is more than the most, `{high}`: write [\"{high}\", \"{low}\"]"
        ))),
    }
}

pub(super) fn some_range<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<(Nanos, Nanos)>, D::Error> {
    range(from).map(Some)
}

fn parse_time(text: &str) -> Result<Nanos, String> {
    let time = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is not a time: {error}; write \"30s\" or \"250ms\""))?;
    match time <= LONGEST {
        true => Ok(nanos(time)),
        false => Err(format!("`{text}` is too long: write at most \"366days\"")),
    }
}

fn parse_duration(text: &str) -> Result<Nanos, String> {
    match parse_time(text)? {
        0 => Err(format!(
            "`{text}` must be more than zero: write \"1s\" or \"250ms\""
        )),
        time => Ok(time),
    }
}
