//! Access to the recorded vectors.

use pinecone_wire::{Coordinates, PublicKey, Signature, Watermark};
use serde_json::Value;

/// Reads the cases of `vectors/<name>.json`.
pub(crate) fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let file: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let cases = match file {
        Value::Array(cases) => cases,
        file => file["cases"].as_array().unwrap().clone(),
    };
    assert!(!cases.is_empty(), "{path} has no case");
    cases
}

pub(crate) fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {case}"))
}

pub(crate) fn bytes(case: &Value, field: &str) -> Vec<u8> {
    hex::decode(text(case, field)).unwrap()
}

pub(crate) fn key(case: &Value, field: &str) -> PublicKey {
    text(case, field).parse().unwrap()
}

pub(crate) fn signature(case: &Value, field: &str) -> Signature {
    Signature(bytes(case, field).try_into().unwrap())
}

/// Returns a number, which may be a decimal string. A missing number is 0.
pub(crate) fn number(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::String(digits) => digits.parse().unwrap(),
        value => value.as_u64().unwrap(),
    }
}

/// Returns a list of numbers, which is empty for `null`.
pub(crate) fn numbers(value: &Value) -> Vec<u64> {
    match value {
        Value::Null => Vec::new(),
        value => value.as_array().unwrap().iter().map(number).collect(),
    }
}

pub(crate) fn coordinates(value: &Value) -> Coordinates {
    numbers(value).into()
}

/// Returns a watermark, which is recorded as `[key, sequence]`.
pub(crate) fn watermark(value: &Value) -> Watermark {
    Watermark {
        key: value[0].as_str().unwrap().parse().unwrap(),
        sequence: number(&value[1]),
    }
}
