//! What must hold.

use serde::Serialize;

use crate::error::Error;

/// What was expected, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Expectation {
    /// Of which measure.
    pub name: String,
    /// What it must be.
    pub wanted: String,
    /// What it was; none where it was not measured, as the time to converge of what did not.
    pub found: Option<f64>,
    /// Whether it came true.
    pub holds: bool,
}

impl Expectation {
    pub(super) fn new(name: &str, wanted: &str, found: Option<f64>) -> Result<Self, Error> {
        let wrong = || Error::Expectation {
            name: name.into(),
            found: wanted.into(),
        };
        let (comparison, number) = wanted.trim().split_once(' ').ok_or_else(wrong)?;
        let limit: f64 = number.trim().parse().map_err(|_| wrong())?;
        let compare: fn(&f64, &f64) -> bool = match comparison {
            ">=" => f64::ge,
            "<=" => f64::le,
            ">" => f64::gt,
            "<" => f64::lt,
            "==" => f64::eq,
            _ => return Err(wrong()),
        };
        Ok(Self {
            name: name.into(),
            wanted: wanted.into(),
            found,
            holds: found.is_some_and(|found| compare(&found, &limit)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons() {
        let holds = |wanted, found| Expectation::new("x", wanted, found).map(|e| e.holds);
        assert!(holds(">= 0.98", Some(0.98)).unwrap());
        assert!(!holds("> 0.98", Some(0.98)).unwrap());
        assert!(holds("<= 3", Some(-1.0)).unwrap());
        assert!(!holds("< 3", Some(3.0)).unwrap());
        assert!(holds("== 1", Some(1.0)).unwrap());
        assert!(!holds("<= 3", None).unwrap());
        for wrong in ["", "1", ">=1", "=> 1", ">= x"] {
            assert!(holds(wrong, Some(1.0)).is_err(), "{wrong}");
        }
    }
}
