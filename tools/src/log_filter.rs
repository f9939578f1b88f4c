//! Parsing of log filters, with a check for typing errors.
//!
//! [`EnvFilter`] accepts any word as the name of a module: with `inof` instead of `info`, it would log
//! nothing. Here a word must be a level or a crate of this program.

use std::env;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::failure::Failure;

const VARIABLE: &str = "RUST_LOG";
/// The crates that log.
const CRATES: [&str; 5] = [
    "pinecone",
    "pinecone_controlplane",
    "pinecone_dataplane",
    "pinecone_transports",
    "pinecone_wire",
];

/// Returns the filter of the flag, else of `RUST_LOG`, else `default`, with the target `hidden` disabled.
pub(crate) fn filter(
    flag: Option<&str>,
    default: &str,
    hidden: Option<&str>,
) -> Result<EnvFilter, Failure> {
    let text = match flag {
        Some(text) => check(text, "--log")?,
        None => from_environment(env::var(VARIABLE).ok().as_deref())?
            .unwrap_or_else(|| default.to_owned()),
    };
    let text = match hidden {
        Some(target) => format!("{text},{target}=off"),
        None => text,
    };
    EnvFilter::try_new(&text).map_err(|e| refused(&text, &format!("malformed log filter ({e})")))
}

/// Returns the part of `RUST_LOG` that concerns this program. The variable may also contain filters for
/// other programs.
fn from_environment(value: Option<&str>) -> Result<Option<String>, Failure> {
    let ours = |directive: &&str| match directive.split_once('=') {
        Some((target, level)) => is_ours(target.trim()) || !is_level(level),
        None => true,
    };
    let text = directives(value.unwrap_or_default())
        .filter(ours)
        .collect::<Vec<_>>()
        .join(",");
    if text.is_empty() {
        return Ok(None);
    }
    check(&text, VARIABLE).map(Some)
}

fn check(text: &str, origin: &str) -> Result<String, Failure> {
    let mut checked = Vec::new();
    for directive in directives(text) {
        match directive.split_once('=') {
            Some((_, level)) if !is_level(level) => {
                return Err(refused(origin, &format!("{level:?} is not a log level")));
            }
            Some((target, _)) if !is_ours(target.trim()) => {
                return Err(refused(
                    origin,
                    &format!(
                        "{target:?} is neither a log level nor a crate of this program ({})",
                        CRATES.join(", ")
                    ),
                ));
            }
            None if !is_level(directive) && !is_ours(directive) => {
                return Err(refused(
                    origin,
                    &format!("{directive:?} is not a log level or filter"),
                ));
            }
            _ => checked.push(directive),
        }
    }
    if checked.is_empty() {
        return Err(refused(origin, &format!("{text:?} contains no log level")));
    }
    Ok(checked.join(","))
}

fn directives(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|d| !d.is_empty())
}

fn is_level(text: &str) -> bool {
    // An empty text would be parsed as a level.
    !text.trim().is_empty() && text.trim().parse::<LevelFilter>().is_ok()
}

/// Reports whether the target is a crate of this program or a module in one.
fn is_ours(target: &str) -> bool {
    let name = target.split_once("::").map_or(target, |(name, _)| name);
    CRATES.contains(&name)
}

fn refused(origin: &str, what: &str) -> Failure {
    Failure::usage(format!(
        "{origin}: {what}: write error, warn, info, debug, trace or off, or a filter such as \
         info,pinecone_transports=debug"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_crates_are_accepted() {
        for good in [
            "error",
            "warn",
            "INFO",
            "debug",
            "trace",
            "off",
            "3",
            "info,pinecone_controlplane=debug",
            " warn , pinecone::run=trace,",
            "pinecone_dataplane",
        ] {
            let text = check(good, "--log").unwrap_or_else(|e| panic!("{good}: {e}"));
            assert!(EnvFilter::try_new(text).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_mistyped_word_is_refused() {
        for wrong in [
            "",
            ",",
            "inof",
            "info,inof",
            "=,=",
            "=info",
            "info=",
            "pinecone=inof",
            "pinecone=",
            "pinecone_controlplain=debug",
            "info,tokio=debug",
            "[span]=debug",
        ] {
            let failure = check(wrong, "--log").unwrap_err();
            assert_eq!(failure.code, 2, "{wrong}");
            assert!(failure.to_string().starts_with("--log: "), "{failure}");
        }
    }

    #[test]
    fn the_environment_may_concern_other_programs() {
        let read = |text| from_environment(text).map_err(|failure| failure.code);
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(read(None), Ok(None));
        assert_eq!(read(Some("")), Ok(None));
        assert_eq!(read(Some("hyper=debug")), Ok(None));
        assert_eq!(read(Some("hyper=debug,warn")), some("warn"));
        assert_eq!(read(Some("inof")), Err(2));
        assert_eq!(read(Some("hyper=inof")), Err(2));
    }
}
