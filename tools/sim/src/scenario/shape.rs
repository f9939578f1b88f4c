//! Checks of a scenario's tables before they are read, for mistakes that the parser would report
//! without saying what to write.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::de::value::{Error as Unknown, StrDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::adversary::FrameKind;
use super::settings::ConvergedBy;
use crate::link::How;

/// The position of a mistake, and its description.
pub(super) type Wrong = (Range<usize>, String);

/// Keys that hold tables.
const TABLES: [&str; 6] = ["topology", "network", "link", "measure", "pings", "expect"];

/// Keys that hold arrays of tables.
const LISTS: [&str; 2] = ["event", "adversary"];

/// Keys that hold a time.
const TIMES: [&str; 9] = [
    "duration",
    "start-within",
    "every",
    "from",
    "at",
    "for",
    "down",
    "up",
    "heal-after",
];

/// Refuses values of the wrong kind for their keys. `prefix` is the name of the table with a dot.
pub(super) fn check(table: &DeTable<'_>, prefix: &str) -> Result<(), Wrong> {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let full = format!("{prefix}{name}");
        let is_table = TABLES.contains(&name) || (prefix.is_empty() && name == "small");
        match value.get_ref() {
            DeValue::Table(_) if LISTS.contains(&name) => {
                return Err((value.span(), write_list(&full)));
            }
            DeValue::Table(_) => {}
            _ if is_table => return Err((value.span(), write_table(name, &full))),
            DeValue::Array(_) => {}
            _ if LISTS.contains(&name) => return Err((value.span(), write_list(&full))),
            _ => {}
        }
        match value.get_ref() {
            DeValue::Table(expect) if name == "expect" => check_expectations(expect, "")?,
            _ => check_value(name, value)?,
        }
    }
    Ok(())
}

/// Returns the line of the first `[event]` and a hint, if the parser refused a second `[event]` or
/// `[[event]]` at `line` because of it.
pub(super) fn repeated_table(text: &str, line: usize) -> Option<(usize, String)> {
    fn header(line: &str) -> &str {
        line.split('#').next().unwrap_or_default().trim()
    }
    let refused = header(text.lines().nth(line.checked_sub(1)?)?);
    let names = LISTS.map(|list| [list.to_owned(), format!("small.{list}")]);
    let repeated = |name: &&String| {
        let [one, many] = [format!("[{name}]"), format!("[[{name}]]")];
        refused == one || refused == many
    };
    let name = names.iter().flatten().find(repeated)?;
    let wanted = format!("[{name}]");
    let first = text.lines().position(|line| header(line) == wanted)?;
    Some((first + 1, write_list(name)))
}

/// Returns a hint with the names of an enum's variants.
pub(super) fn names<T: DeserializeOwned>() -> String {
    let unknown = T::deserialize(StrDeserializer::<Unknown>::new(""));
    let message = unknown.err().map(|error| error.to_string());
    let names = message.as_deref().and_then(|m| m.split_once("expected "));
    names.map_or_else(String::new, |(_, names)| format!(": write {names}"))
}

fn write_list(name: &str) -> String {
    format!("`{name}` is a list of tables: write `[[{name}]]` above each")
}

fn write_table(name: &str, full: &str) -> String {
    match name {
        "topology" => format!("`{full}` is a table: write {{ kind = \"line\", nodes = 5 }}"),
        _ => format!("`{full}` is a table: write `[{full}]` above its keys"),
    }
}

fn check_value(key: &str, value: &Spanned<DeValue<'_>>) -> Result<(), Wrong> {
    let wrong = |wrong: String| Err((value.span(), wrong));
    let kind = value.get_ref();
    match (key, kind) {
        ("how" | "converged-by", DeValue::String(_)) => Ok(()),
        ("how", _) => wrong(format!("`how` must be text in quotes{}", names::<How>())),
        ("converged-by", _) => wrong(format!(
            "`{key}` must be text in quotes{}",
            names::<ConvergedBy>()
        )),
        ("frames", DeValue::Array(frames)) => {
            let all_texts = frames.iter().all(|frame| frame.get_ref().is_str());
            match all_texts {
                true => Ok(()),
                false => wrong(format!(
                    "`frames` must be texts in quotes{}",
                    names::<FrameKind>()
                )),
            }
        }
        ("frames", _) => wrong("`frames` must be a list: write it like [\"traffic\"]".into()),
        _ if TIMES.contains(&key) && !kind.is_str() => {
            let example = format!("{}s", number(kind).unwrap_or("30"));
            wrong(format!(
                "`{key}` must be a time, as text in quotes with a unit: write \"{example}\""
            ))
        }
        (_, DeValue::Table(table)) => table
            .iter()
            .try_for_each(|(key, value)| check_value(key.get_ref(), value)),
        (_, DeValue::Array(items)) => items.iter().try_for_each(|item| check_value("", item)),
        _ => Ok(()),
    }
}

fn check_expectations(table: &DeTable<'_>, prefix: &str) -> Result<(), Wrong> {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => check_expectations(inner, &format!("{name}."))?,
            DeValue::String(_) if prefix.is_empty() => {}
            DeValue::String(comparison) => {
                let wrong =
                    format!("a name with dots is in quotes: write `\"{name}\" = \"{comparison}\"`");
                return Err((key.span(), wrong));
            }
            other => {
                let example = match number(other) {
                    Some(number) => format!("== {number}"),
                    None => ">= 0.98".into(),
                };
                let wrong = format!(
                    "an expectation is a comparison in quotes: write `\"{name}\" = \"{example}\"`, \
                     or with another of <, <=, ==, >=, >"
                );
                return Err((value.span(), wrong));
            }
        }
    }
    Ok(())
}

fn number<'a>(value: &'a DeValue<'_>) -> Option<&'a str> {
    match value {
        DeValue::Integer(number) => Some(number.as_str()),
        DeValue::Float(number) => Some(number.as_str()),
        _ => None,
    }
}
