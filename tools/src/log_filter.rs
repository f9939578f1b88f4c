//! Reads what to log, and refuses what would log nothing by mistake.
//!
//! [`EnvFilter`] takes any word for the name of a module: with `inof` in place of `info` it would
//! let no line through. Here a word must be a level or a crate of this program.

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

/// Returns the filter that the flag names, or else `RUST_LOG`, or else `default`; without what is
/// logged for the target `hidden`.
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
    EnvFilter::try_new(&text).map_err(|e| refused(&text, &format!("no log filter ({e})")))
}

/// Returns the part of `RUST_LOG` that is about this program. Other programs read the variable too,
/// so it may name their modules.
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
                return Err(refused(origin, &format!("{level:?} is no log level")));
            }
            Some((target, _)) if !is_ours(target.trim()) => {
                return Err(refused(
                    origin,
                    &format!(
                        "{target:?} is no log level, and no crate of this program ({})",
                        CRATES.join(", ")
                    ),
                ));
            }
            None if !is_level(directive) && !is_ours(directive) => {
                return Err(refused(
                    origin,
                    &format!("{directive:?} is no log level or filter"),
                ));
            }
            _ => checked.push(directive),
        }
    }
    if checked.is_empty() {
        return Err(refused(origin, &format!("{text:?} names no log level")));
    }
    Ok(checked.join(","))
}

fn directives(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|d| !d.is_empty())
}

fn is_level(text: &str) -> bool {
    // Nothing at all would be read as a level, too.
    !text.trim().is_empty() && text.trim().parse::<LevelFilter>().is_ok()
}

/// Whether the target is one of our crates or a module in it.
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
    fn levels_and_our_crates_are_taken() {
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
    fn the_environment_may_speak_of_other_programs() {
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
