//! Plots of a run, one SVG a measure.

use std::path::{Path, PathBuf};

use plotters::prelude::*;

use crate::error::Error;
use crate::measure::Sample;
use crate::report::Report;

const SIZE: (u32, u32) = (900, 420);
const COLOURS: [RGBColor; 4] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 108, 20),
    RGBColor(44, 140, 44),
    RGBColor(150, 60, 150),
];

/// One line of a plot.
struct Line {
    name: &'static str,
    of: fn(&Sample) -> f64,
}

/// One plot.
struct Plot {
    file: &'static str,
    title: &'static str,
    lines: &'static [Line],
}

const fn line(name: &'static str, of: fn(&Sample) -> f64) -> Line {
    Line { name, of }
}

const PLOTS: &[Plot] = &[
    Plot {
        file: "convergence",
        title: "pairs that reach each other, %",
        lines: &[
            line("by key", |s| s.snek.share.unwrap_or(0.0) * 100.0),
            line("by tree", |s| s.tree.share.unwrap_or(0.0) * 100.0),
        ],
    },
    Plot {
        file: "stretch",
        title: "links taken for each that is needed",
        lines: &[
            line("by key, mean", |s| s.snek.stretch.mean),
            line("by key, p99", |s| s.snek.stretch.p99),
            line("by tree, mean", |s| s.tree.stretch.mean),
            line("by tree, p99", |s| s.tree.stretch.p99),
        ],
    },
    Plot {
        file: "hops",
        title: "links taken",
        lines: &[
            line("by key, mean", |s| s.snek.hops.mean),
            line("by key, p99", |s| s.snek.hops.p99),
            line("by tree, mean", |s| s.tree.hops.mean),
            line("by tree, p99", |s| s.tree.hops.p99),
        ],
    },
    Plot {
        file: "bytes",
        title: "protocol bytes a node and second",
        lines: &[
            line("all", |s| s.protocol.bytes),
            line("announcements", |s| s.protocol.announcement_bytes),
            line("bootstraps", |s| s.protocol.bootstrap_bytes),
            line("broadcasts", |s| s.protocol.broadcast_bytes),
        ],
    },
    Plot {
        file: "frames",
        title: "protocol frames a node and second",
        lines: &[line("all", |s| s.protocol.frames)],
    },
    Plot {
        file: "reparentings",
        title: "nodes that took another parent",
        lines: &[
            line("another parent", |s| s.reparentings as f64),
            line("another root", |s| s.root_changes as f64),
        ],
    },
    Plot {
        file: "routes",
        title: "routes in a node's table",
        lines: &[
            line("mean", |s| s.routes.mean),
            line("p99", |s| s.routes.p99),
            line("max", |s| s.routes.max),
        ],
    },
    Plot {
        file: "lost",
        title: "traffic frames lost",
        lines: &[line("all", |s| s.lost.values().sum::<u64>() as f64)],
    },
];

/// Draws all plots into a directory, which is made if need be; the files written.
///
/// # Errors
/// [`Error::Write`], [`Error::Plot`].
pub fn draw(report: &Report, directory: &Path) -> Result<Vec<PathBuf>, Error> {
    std::fs::create_dir_all(directory).map_err(|source| Error::Write {
        path: directory.into(),
        source,
    })?;
    let mut files = Vec::new();
    for plot in PLOTS {
        let path = directory.join(plot.file).with_extension("svg");
        let svg = render(report, plot).map_err(|reason| Error::Plot {
            path: path.clone(),
            reason,
        })?;
        std::fs::write(&path, svg).map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })?;
        files.push(path);
    }
    Ok(files)
}

fn render(report: &Report, plot: &Plot) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        paint(report, plot, &root).map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

fn paint<'a>(
    report: &Report,
    plot: &Plot,
    root: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    root.fill(&WHITE)?;
    let samples = &report.samples;
    let end = samples.last().map_or(1.0, |sample| sample.at);
    let values = plot.lines.iter().flat_map(|l| samples.iter().map(l.of));
    let top = values.fold(0.0, f64::max).max(1e-9) * 1.05;
    let title = format!("{}: {}", report.scenario, plot.title);
    let mut chart = ChartBuilder::on(root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .light_line_style(WHITE)
        .draw()?;
    for mark in &report.events {
        let grey = BLACK.mix(0.25);
        let upright = [(mark.at, 0.0), (mark.at, top)];
        chart.draw_series(LineSeries::new(upright, grey))?;
    }
    for (line, colour) in plot.lines.iter().zip(COLOURS) {
        let points = samples.iter().map(|sample| (sample.at, (line.of)(sample)));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()
}
