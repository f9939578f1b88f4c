//! Reading the TOML tables of a scenario, with the line of each key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::adversary::MischiefSettings;
use super::event::Action;
use super::shape::{self, Wrong};
use super::source::Source;
use crate::error::Error;
use crate::topology::Topology;

/// Reads the tables of a scenario into a value. With `small`, the values in its `[small]` table
/// replace the others.
pub(super) fn read<T: DeserializeOwned>(
    file: &Path,
    text: &str,
    small: bool,
) -> Result<(Source, T), Error> {
    let line = |at: usize| 1 + text.get(..at).unwrap_or(text).matches('\n').count();
    let wrong = |span: Option<Range<usize>>, wrong: String| Error::Input {
        file: file.into(),
        line: line(span.map_or(0, |span| span.start)),
        wrong,
    };
    let unreadable = |error: toml::de::Error| wrong(error.span(), plain(error.message()));
    let mut root = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        match shape::repeated_table(text, line(at)) {
            Some((line, wrong)) => Error::Input {
                file: file.into(),
                line,
                wrong,
            },
            None => unreadable(error),
        }
    })?;
    let table = root.get_mut();
    let misshapen = |(span, reason)| wrong(Some(span), reason);
    shape::check(table, "").map_err(misshapen)?;
    match (table.remove("small").map(Spanned::into_inner), small) {
        (Some(DeValue::Table(over)), true) => {
            shape::check(&over, "small.").map_err(misshapen)?;
            overlay(table, over);
        }
        (_, true) => return Err(Error::NoSmall { file: file.into() }),
        (_, false) => {}
    }
    let mut lines = BTreeMap::new();
    note(table, "", &line, &mut lines);
    tag(table).map_err(misshapen)?;
    let value = T::deserialize(toml::Deserializer::from(root)).map_err(|error| {
        let at = error.span().map(|span| line(span.start));
        match outer_keys(&lines, at) {
            Some(outer) => wrong(error.span(), plain(&with_outer(error.message(), outer))),
            None => unreadable(error),
        }
    })?;
    let file = file.into();
    Ok((Source { file, lines }, value))
}

/// Returns the keys of the table at a line that [`tag`] does not move into an inner table.
fn outer_keys(lines: &BTreeMap<String, usize>, at: Option<usize>) -> Option<&'static str> {
    let (path, _) = lines.iter().rfind(|&(_, &line)| Some(line) == at)?;
    match path.split('.').next()? {
        "topology" => Some("kind"),
        "event" => Some("at, do"),
        "adversary" => Some("node, at, do"),
        _ => None,
    }
}

/// Adds the outer keys to the parser's list of keys, which lacks them.
fn with_outer(message: &str, outer: &str) -> String {
    match message.split_once(", available keys:") {
        Some((unknown, "" | " ")) => format!("{unknown}, available keys: {outer}"),
        Some((unknown, inner)) => format!("{unknown}, available keys: {outer},{inner}"),
        None => message.into(),
    }
}

/// Records the line of every key.
fn note(
    table: &DeTable<'_>,
    prefix: &str,
    line: &impl Fn(usize) -> usize,
    lines: &mut BTreeMap<String, usize>,
) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        lines.insert(path.clone(), line(key.span().start));
        match value.get_ref() {
            DeValue::Table(inner) => note(inner, &format!("{path}."), line, lines),
            DeValue::Array(items) => {
                for (number, item) in items.iter().enumerate() {
                    let path = format!("{path}.{number}");
                    lines.insert(path.clone(), line(item.span().start));
                    if let DeValue::Table(inner) = item.get_ref() {
                        note(inner, &format!("{path}."), line, lines);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Replaces values of `table` by those of `over`, table by table. A table with a different `kind`
/// replaces the old one as a whole.
fn overlay<'a>(table: &mut DeTable<'a>, over: DeTable<'a>) {
    fn kind<'b>(table: &'b DeTable<'_>) -> Option<&'b str> {
        table.get("kind").and_then(|kind| kind.get_ref().as_str())
    }
    for (key, value) in over {
        let (span, value) = (value.span(), value.into_inner());
        let old = table.get_mut(key.get_ref().as_ref());
        match (old.map(Spanned::get_mut), value) {
            (Some(DeValue::Table(old)), DeValue::Table(new))
                if kind(&new).is_none_or(|new| kind(old) == Some(new)) =>
            {
                overlay(old, new);
            }
            (_, value) => {
                // Inserting alone would keep the old key, and with it the old line.
                table.remove(key.get_ref().as_ref());
                table.insert(key, Spanned::new(span, value));
            }
        }
    }
}

/// Moves keys that depend on `kind` and `do` into a table of that name, which is how serde reads
/// enums. Serde's attributes for tagged enums (`tag`, `flatten`) would lose the lines.
fn tag(table: &mut DeTable<'_>) -> Result<(), Wrong> {
    if let Some(topology) = table.get_mut("topology") {
        let tagged = tagged(topology, "kind", &[], shape::names::<Topology>)?;
        *topology.get_mut() = tagged;
    }
    let actions: fn() -> String = shape::names::<Action>;
    for (list, kept, inner, names) in [
        ("event", &["at"][..], "action", actions),
        (
            "adversary",
            &["node", "at"],
            "mischief",
            shape::names::<MischiefSettings>,
        ),
    ] {
        let items = table.get_mut(list).map(Spanned::get_mut);
        let Some(DeValue::Array(items)) = items else {
            continue;
        };
        for item in items.iter_mut() {
            let span = item.span();
            let tagged = tagged(item, "do", kept, names)?;
            if let DeValue::Table(outer) = item.get_mut() {
                let key = Spanned::new(span.clone(), Cow::Borrowed(inner));
                outer.insert(key, Spanned::new(span, tagged));
            }
        }
    }
    Ok(())
}

/// Moves all keys of a table but those `kept` into a table named by its `tag`.
fn tagged<'a>(
    from: &mut Spanned<DeValue<'a>>,
    tag: &str,
    kept: &[&str],
    names: fn() -> String,
) -> Result<DeValue<'a>, Wrong> {
    let span = from.span();
    let DeValue::Table(table) = from.get_mut() else {
        return Err((span, format!("write a table with `{tag}`")));
    };
    let name = match table
        .remove(tag)
        .map(|name| (name.span(), name.into_inner()))
    {
        Some((span, DeValue::String(name))) => Spanned::new(span, name),
        Some((span, _)) => {
            return Err((span, format!("`{tag}` must be text in quotes{}", names())));
        }
        None => return Err((span, format!("`{tag}` is missing{}", names()))),
    };
    let (mut outer, mut inner) = (DeTable::new(), DeTable::new());
    for (key, value) in std::mem::take(table) {
        match kept.contains(&key.get_ref().as_ref()) {
            true => table.insert(key, value),
            false => inner.insert(key, value),
        };
    }
    outer.insert(name, Spanned::new(span, DeValue::Table(inner)));
    Ok(DeValue::Table(outer))
}

/// Rewrites a message of the parser as one line without names of Rust types.
fn plain(message: &str) -> String {
    let mut message = message.trim().replace('\n', "; ");
    if let Some(key) = message.strip_prefix("missing field ") {
        return format!("missing key {key}: write it here");
    }
    for (rust, plain) in [
        ("unexpected keys in table: ", "there is no key "),
        (", available keys: ", ", write one of "),
        ("unknown field", "there is no key"),
        ("unknown variant", "there is no"),
        ("expected u64", "expected a whole number, 0 or more"),
        (
            "expected u32",
            "expected a whole number from 0 to 4294967295",
        ),
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected f64", "expected a number"),
        ("expected a boolean", "expected true or false"),
        (
            "duplicate key",
            "this key or table is there already: write it once",
        ),
        ("expected literal string", "expected it as \"…\""),
        ("expected u8", "expected a whole number from 0 to 255"),
        ("expected a string", "expected text in quotes"),
        ("expected ", "write "),
    ] {
        message = message.replace(rust, plain);
    }
    message
}
