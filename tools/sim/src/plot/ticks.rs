//! Ticks of an axis: a few round numbers, with as many digits as they need.

/// The ticks of an axis from zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ticks {
    /// Their positions in order. The first is zero, and the last is at or above the greatest value.
    pub(super) at: Vec<f64>,
    digits: usize,
}

impl Ticks {
    /// Returns about `wanted` ticks up to a value. If the value is zero, the axis ends at one.
    pub(super) fn new(top: f64, wanted: u32) -> Self {
        let top = match top.is_finite() && top > 1e-9 {
            true => top,
            false => 1.0,
        };
        let rough = top / f64::from(wanted.max(1));
        let power = rough.log10().floor();
        let unit = 10f64.powf(power);
        let steps = [1.0, 2.0, 5.0, 10.0];
        let step = steps
            .into_iter()
            .map(|step| step * unit)
            .find(|step| *step >= rough * 0.999)
            .unwrap_or(10.0 * unit);
        // The last tick may be a thousandth of a step below the value.
        let count = ((top / step - 1e-3).ceil()).max(1.0) as u32;
        Self {
            at: (0..=count).map(|n| f64::from(n) * step).collect(),
            digits: (-(step * 1.001).log10().floor()).max(0.0) as usize,
        }
    }

    /// Returns the end of the axis.
    pub(super) fn end(&self) -> f64 {
        self.at.last().copied().unwrap_or(1.0)
    }

    /// Returns the text of a tick, with separated thousands.
    pub(super) fn label(&self, at: f64) -> String {
        let text = format!("{at:.*}", self.digits);
        let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        let mut out = String::new();
        for (number, digit) in whole.chars().enumerate() {
            if number > 0 && (whole.len() - number).is_multiple_of(3) {
                out.push(',');
            }
            out.push(digit);
        }
        out + rest
    }

    /// Returns the number of characters in the longest label.
    pub(super) fn longest(&self) -> usize {
        let labels = self.at.iter().map(|&at| self.label(at).len());
        labels.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ticks_are_few_and_round_and_their_labels_differ() {
        let mut tops = vec![0.0, 1e-12, f64::NAN, 1.0, 3.0, 7.0, 100.0, 104.0, 123_456.0];
        tops.extend((-40..60).map(|n| 1.37f64.powi(n)));
        for top in tops {
            for wanted in [4, 5, 8] {
                let ticks = Ticks::new(top, wanted);
                let labels: BTreeSet<_> = ticks.at.iter().map(|&at| ticks.label(at)).collect();
                assert_eq!(labels.len(), ticks.at.len(), "{top}: {labels:?}");
                assert!(
                    (2..=wanted as usize + 2).contains(&ticks.at.len()),
                    "{top}: {labels:?}"
                );
                assert!(
                    top.is_nan() || ticks.end() >= top * 0.999,
                    "{top}: {labels:?}"
                );
            }
        }
        let labels = |top: f64| {
            let ticks = Ticks::new(top, 5);
            ticks
                .at
                .iter()
                .map(|&at| ticks.label(at))
                .collect::<Vec<_>>()
        };
        assert_eq!(labels(0.0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(
            labels(9000.0),
            ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]
        );
        assert_eq!(labels(0.011), ["0.000", "0.005", "0.010", "0.015"]);
    }
}
