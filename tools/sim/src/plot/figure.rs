//! The contents of a plot.

use super::ticks::Ticks;

/// A plot: curves over time.
pub(super) struct Figure {
    pub(super) title: String,
    /// The scenario, below the title.
    pub(super) subtitle: String,
    /// The label of the y axis, with its unit.
    pub(super) y: &'static str,
    /// The text that replaces the curves if all values are zero.
    pub(super) nothing: Option<&'static str>,
    pub(super) curves: Vec<Curve>,
    /// Events and their times in seconds.
    pub(super) events: Vec<(f64, String)>,
    /// The end of the run in seconds.
    pub(super) end: f64,
    /// The end of the y axis, if it does not depend on the values.
    pub(super) top: Option<f64>,
}

/// A curve, with gaps where values are absent.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

impl Figure {
    fn values(&self) -> impl Iterator<Item = f64> {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        points.filter_map(|&(_, y)| y)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values().all(|y| y == 0.0)
    }

    pub(super) fn y_ticks(&self) -> Ticks {
        let top = self
            .top
            .unwrap_or_else(|| self.values().fold(0.0, f64::max));
        Ticks::new(top, 5)
    }

    pub(super) fn x_ticks(&self) -> Ticks {
        Ticks::new(self.end, 10)
    }
}

impl Curve {
    /// Returns the parts between gaps.
    pub(super) fn parts(&self) -> impl Iterator<Item = Vec<(f64, f64)>> {
        let parts = self.points.split(|(_, y)| y.is_none());
        let parts = parts.filter(|part| !part.is_empty());
        parts.map(|part| part.iter().filter_map(|&(x, y)| Some((x, y?))).collect())
    }
}
