//! The values of options.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

/// A target delay in milliseconds, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueDelay(pub(crate) Option<u64>);

impl FromStr for QueueDelay {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        let delay = text.parse().ok().filter(|ms| (1..=60_000).contains(ms));
        let delay = delay.ok_or("expected milliseconds from 1 to 60000, or `off`")?;
        Ok(Self(Some(delay)))
    }
}

/// The value of a switch: on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl Switch {
    pub(crate) fn is_on(self) -> bool {
        self == Self::On
    }
}

/// Returns a parser for whole numbers from `least` to `most`.
pub(crate) fn whole<T: TryFrom<u64>>(
    least: u64,
    most: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    let expected = match (least, most) {
        (0, u64::MAX) => "expected a whole number".to_owned(),
        (_, u64::MAX) => format!("expected a whole number of {least} or more"),
        _ => format!("expected a whole number from {least} to {most}"),
    };
    move |text| {
        let number = text.parse().ok();
        number
            .filter(|number| (least..=most).contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| expected.clone())
    }
}

/// Parses a time in seconds.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.001..=86400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected seconds from 0.001 to 86400".to_owned())
}
