//! SVG plots of the results.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// A plot with a logarithmic x axis.
#[derive(Clone, Debug)]
pub struct Plot {
    /// File name without extension.
    pub name: String,
    pub title: String,
    pub x: &'static str,
    pub y: &'static str,
    pub log_y: bool,
    pub lines: Vec<Line>,
}

/// A line: its name, and its points in the order of x.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (720, 420);
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x44, 0x44, 0x44),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
];

impl Plot {
    /// Writes the plot to `NAME.svg` in a directory.
    pub fn draw(&self, directory: &Path) -> Result<()> {
        let path = directory.join(format!("{}.svg", self.name));
        let area = SVGBackend::new(&path, SIZE).into_drawing_area();
        self.draw_on(&area)
            .map_err(|e| anyhow!("cannot draw {}: {e}", path.display()))
    }

    fn draw_on(
        &self,
        area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let points = || self.lines.iter().flat_map(|l| &l.points);
        let (least_x, most_x) = bounds(points().map(|p| p.0));
        let (least_y, most_y) = bounds(points().map(|p| p.1));
        area.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(area);
        builder
            .caption(&self.title, ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70);
        let x = (least_x * 0.9..most_x * 1.1).log_scale();
        // The chart has another type for each kind of axis.
        macro_rules! draw {
            ($y:expr) => {{
                let mut chart = builder.build_cartesian_2d(x, $y)?;
                chart
                    .configure_mesh()
                    .x_desc(self.x)
                    .y_desc(self.y)
                    .x_labels(5)
                    .x_label_formatter(&|x| short(*x))
                    .y_label_formatter(&|y| short(*y))
                    .light_line_style(RGBColor(0xf2, 0xf2, 0xf2))
                    .draw()?;
                for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
                    let style = colour.stroke_width(2);
                    chart
                        .draw_series(LineSeries::new(line.points.iter().copied(), style))?
                        .label(&line.name)
                        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
                    let dot = |p: &(f64, f64)| Circle::new(*p, 3, colour.filled());
                    chart.draw_series(line.points.iter().map(dot))?;
                }
                chart
                    .configure_series_labels()
                    .position(SeriesLabelPosition::UpperRight)
                    .background_style(WHITE.mix(0.8))
                    .border_style(RGBColor(0xaa, 0xaa, 0xaa))
                    .draw()?;
            }};
        }
        if self.log_y {
            draw!((least_y * 0.8..most_y * 1.25).log_scale());
        } else {
            draw!(0.0..most_y * 1.25);
        }
        area.present()?;
        Ok(())
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::MIN_POSITIVE), |(low, high), v| {
        (low.min(v), high.max(v))
    })
}

/// Formats the label of an axis.
fn short(x: f64) -> String {
    let (x, unit) = match x {
        x if x >= 1e6 => (x / 1e6, "M"),
        x if x >= 1e3 => (x / 1e3, "k"),
        x => (x, ""),
    };
    let digits = if x >= 10.0 || x.fract() == 0.0 { 0 } else { 1 };
    format!("{x:.digits$}{unit}")
}
