//! Checks of a scenario's tables before they are read: mistakes that are valid TOML, and of which
//! the parser would not say what to write.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::de::value::{Error as Unknown, StrDeserializer};
use toml::de::{DeTable, DeValue};

/// Where a mistake stands, and what it is.
pub(super) type Wrong = (Range<usize>, String);

/// Keys that hold arrays of tables.
const LISTS: [&str; 2] = ["event", "adversary"];

/// Keys that hold one time.
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

/// Refuses single tables in place of arrays, numbers in place of times, and expectations that are
/// no text.
pub(super) fn check(table: &DeTable<'_>) -> Result<(), Wrong> {
    for list in LISTS {
        if let Some(value) = table.get(list)
            && !matches!(value.get_ref(), DeValue::Array(_))
        {
            return Err((value.span(), write_list(list)));
        }
    }
    if let Some(DeValue::Table(expect)) = table.get("expect").map(|value| value.get_ref()) {
        check_expectations(expect, "")?;
    }
    for (_, value) in table.iter().filter(|(key, _)| key.get_ref() != "expect") {
        check_times(value.get_ref())?;
    }
    check_own_times(table)
}

/// A hint where the parser refuses a line such as `[event]`, because there are several.
pub(super) fn repeated_table(line: &str) -> Option<String> {
    let header = line.split('#').next().unwrap_or_default().trim();
    let name = header.trim_matches(['[', ']']).trim();
    (header.starts_with('[') && LISTS.contains(&name)).then(|| write_list(name))
}

/// The names that an enum can have, as a hint.
pub(super) fn names<T: DeserializeOwned>() -> String {
    let unknown = T::deserialize(StrDeserializer::<Unknown>::new(""));
    let message = unknown.err().map(|error| error.to_string());
    let names = message.as_deref().and_then(|m| m.split_once("expected "));
    names.map_or_else(String::new, |(_, names)| format!(": write {names}"))
}

fn write_list(name: &str) -> String {
    format!("`{name}` is a list of tables: write `[[{name}]]` above each")
}

fn check_times(value: &DeValue<'_>) -> Result<(), Wrong> {
    match value {
        DeValue::Table(table) => {
            table
                .iter()
                .try_for_each(|(_, value)| check_times(value.get_ref()))?;
            check_own_times(table)
        }
        DeValue::Array(items) => items
            .iter()
            .try_for_each(|item| check_times(item.get_ref())),
        _ => Ok(()),
    }
}

fn check_own_times(table: &DeTable<'_>) -> Result<(), Wrong> {
    for (key, value) in table {
        if TIMES.contains(&key.get_ref().as_ref())
            && let Some(number) = number(value.get_ref())
        {
            let wrong = format!(
                "`{}` is a time, a text in quotes with a unit: write \"{number}s\"",
                key.get_ref()
            );
            return Err((value.span(), wrong));
        }
    }
    Ok(())
}

fn check_expectations(table: &DeTable<'_>, prefix: &str) -> Result<(), Wrong> {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => check_expectations(inner, &format!("{name}."))?,
            other => {
                if let Some(number) = number(other) {
                    let wrong = format!(
                        "an expectation is a text in quotes: write `\"{name}\" = \"== {number}\"`, \
                         or with <, <=, >= or >"
                    );
                    return Err((value.span(), wrong));
                }
                if !prefix.is_empty() {
                    let wrong = format!("a name with dots is in quotes: write `\"{name}\" = …`");
                    return Err((key.span(), wrong));
                }
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
