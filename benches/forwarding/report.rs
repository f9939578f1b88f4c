//! Figures as text: medians with their quartiles, and tables.

use std::fmt::Write as _;

use crate::load::Sample;
use crate::plot::Plot;

/// The results of a scenario.
#[derive(Default)]
pub struct Section {
    pub title: &'static str,
    /// Markdown.
    pub text: String,
    pub plots: Vec<Plot>,
    /// Checks that failed.
    pub failures: Vec<String>,
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1) as f64;
        let at = |i: f64| values.get(i as usize).copied().unwrap_or(f64::NAN);
        Self {
            median: at((last * 0.5).round()),
            low: at((last * 0.25).floor()),
            high: at((last * 0.75).ceil()),
        }
    }

    /// Returns the spread of what `of` returns for the two samples of each round.
    pub fn of_pairs<T>(a: &[T], b: &[T], of: impl Fn(&T, &T) -> f64) -> Self {
        Self::of(a.iter().zip(b).map(|(a, b)| of(a, b)))
    }

    /// Returns the median and the quartiles as text. `text` formats each number.
    pub fn show(&self, text: impl Fn(f64) -> String) -> String {
        let [median, low, high] = [self.median, self.low, self.high].map(text);
        if low == high {
            median
        } else {
            format!("{median} ({low}..{high})")
        }
    }
}

/// The rates, CPU times and losses of one row.
pub struct RowFigures<'a>(pub &'a [Sample]);

impl RowFigures<'_> {
    pub fn rate(&self) -> Spread {
        Spread::of(self.0.iter().map(|s| s.rate))
    }

    pub fn cpu(&self) -> Spread {
        Spread::of(self.0.iter().map(|s| s.cpu))
    }

    pub fn lost(&self) -> Spread {
        Spread::of(self.0.iter().map(Sample::loss))
    }

    /// Returns the rate relative to that of another row, by round.
    pub fn share(&self, of: &Self) -> Spread {
        Spread::of_pairs(self.0, of.0, |a, b| a.rate / b.rate)
    }

    /// Returns the CPU time relative to that of another row, by round.
    pub fn ratio(&self, of: &Self) -> Spread {
        Spread::of_pairs(self.0, of.0, |a, b| a.cpu / b.cpu)
    }
}

/// Formats a number, as in `17.9 M` or `480 k`.
pub fn count(n: f64) -> String {
    match n {
        n if n >= 1e6 => format!("{} M", three(n / 1e6)),
        n if n >= 1e3 => format!("{} k", three(n / 1e3)),
        n => three(n),
    }
}

/// Formats seconds as microseconds.
pub fn micros(seconds: f64) -> String {
    three(seconds * 1e6)
}

pub fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0".into(),
        p if p < 0.1 => format!("{p:.4} %"),
        p if p < 10.0 => format!("{p:.1} %"),
        p => format!("{p:.0} %"),
    }
}

pub fn ratio(x: f64) -> String {
    format!("{x:.2}")
}

/// Formats a number with three significant digits.
fn three(x: f64) -> String {
    match x {
        x if x >= 100.0 => format!("{x:.0}"),
        x if x >= 10.0 => format!("{x:.1}"),
        x if x >= 1.0 => format!("{x:.2}"),
        x => format!("{x:.3}"),
    }
}

/// A Markdown table with aligned columns.
pub struct Table(Vec<Vec<String>>);

impl Table {
    pub fn new(columns: &[&str]) -> Self {
        Self(vec![columns.iter().map(ToString::to_string).collect()])
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    pub fn text(&self) -> String {
        let width = |column| {
            let cells = self.0.iter().filter_map(|r: &Vec<String>| r.get(column));
            cells.map(|c: &String| c.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.0[0].len()).map(width).collect();
        let mut out = String::new();
        for (i, row) in self.0.iter().enumerate() {
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(out, "| {cell:width$} ");
            }
            out.push_str("|\n");
            if i == 0 {
                widths.iter().for_each(|w| {
                    let _ = write!(out, "| {} ", "-".repeat((*w).max(3)));
                });
                out.push_str("|\n");
            }
        }
        out
    }
}
