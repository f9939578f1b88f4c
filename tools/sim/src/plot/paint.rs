//! Painting of figures as SVG.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::figure::{Curve, Figure};
use super::labels::{CHARACTER, place};
use super::ticks::Ticks;

const SIZE: (u32, u32) = (960, 440);
/// The width of the column with the legend.
const LEGEND: u32 = 196;
/// The height of the title.
const HEAD: u32 = 50;
/// The height of a row of labels.
const ROW: i32 = 15;
const GREY: RGBColor = RGBColor(95, 95, 95);
const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 90, 14),
    RGBColor(34, 130, 34),
    RGBColor(140, 60, 160),
    RGBColor(170, 30, 50),
    RGBColor(120, 90, 30),
    RGBColor(20, 140, 150),
    RGBColor(70, 70, 70),
];
/// Widths of lines, and lengths of dashes and gaps, in pixels. They are chosen such that each of
/// several lines that coincide can be seen, as later lines are drawn over earlier ones.
const LINES: [(u32, Option<(u32, u32)>); 4] =
    [(5, None), (2, None), (3, Some((9, 7))), (2, Some((3, 5)))];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;
type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// An axis from zero with given ticks.
struct Axis {
    end: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(end: f64, ticks: &Ticks) -> Self {
        let within = ticks.at.iter().copied().filter(|&at| at <= end * 1.0001);
        Self {
            end,
            ticks: within.collect(),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        low + (value / self.end * f64::from(high - low)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        0.0..self.end
    }
}

/// Returns a figure as SVG.
pub(super) fn paint(figure: &Figure) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        paint_on(figure, &root).map_err(|error| error.to_string())?;
    }
    Ok(svg)
}

fn paint_on<'a>(figure: &Figure, root: &Area<'a>) -> Result<(), Failure<'a>> {
    root.fill(&WHITE)?;
    let small = ("sans-serif", 12).into_font();
    let title = ("sans-serif", 17).into_font().color(&BLACK);
    root.draw(&Text::new(cut(&figure.title, 9.0), (16, 10), title))?;
    let grey = small.clone().color(&GREY);
    root.draw(&Text::new(
        cut(&figure.subtitle, CHARACTER),
        (16, 32),
        grey.clone(),
    ))?;

    let (x_ticks, y_ticks) = (figure.x_ticks(), figure.y_ticks());
    let left = 46 + (y_ticks.longest() as f64 * CHARACTER).ceil() as u32;
    let right = SIZE.0 - LEGEND;
    // The rows of labels depend on the horizontal position of the plot.
    let x_of = |at: f64| left as i32 + (at / figure.end * f64::from(right - left)) as i32;
    let events: Vec<_> = figure
        .events
        .iter()
        .map(|(at, name)| (x_of(*at) + 3, name.as_str()))
        .collect();
    let (labels, left_out) = place(&events, right as i32);
    let rows = labels.iter().map(|label| label.row + 1).max().unwrap_or(0) as i32;
    let top = HEAD as i32 + 8 + rows * ROW;

    // Shows the whole width of a line at the end of the axis.
    let headroom = y_ticks.end() * 1.03;
    let mut chart = ChartBuilder::on(root)
        .margin_top(top)
        .margin_right(LEGEND)
        .margin_bottom(8)
        .margin_left(8)
        .x_label_area_size(42)
        .y_label_area_size(left - 8)
        .build_cartesian_2d(
            Axis::new(figure.end, &x_ticks),
            Axis::new(headroom, &y_ticks),
        )?;
    chart
        .configure_mesh()
        .x_desc("time since the start, s")
        .y_desc(figure.y)
        .x_label_formatter(&|x| x_ticks.label(*x))
        .y_label_formatter(&|y| y_ticks.label(*y))
        .label_style(small.clone())
        .axis_desc_style(small.clone())
        .bold_line_style(BLACK.mix(0.12))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (at, _) in &figure.events {
        let vertical = DashedLineSeries::new([(*at, 0.0), (*at, headroom)], 4, 3, GREY.into());
        chart.draw_series(vertical)?;
    }
    for label in &labels {
        let y = HEAD as i32 + 4 + label.row as i32 * ROW;
        root.draw(&Text::new(label.text.clone(), (label.x, y), grey.clone()))?;
    }
    match figure.nothing.filter(|_| figure.is_empty()) {
        Some(nothing) => {
            let style = ("sans-serif", 15).into_font().color(&GREY);
            let style = style.pos(Pos::new(HPos::Center, VPos::Center));
            let middle = ((left + right) as i32 / 2, (top + SIZE.1 as i32 - 50) / 2);
            root.draw(&Text::new(nothing, middle, style))?;
        }
        None => {
            // The wide line is only useful below other curves.
            let first = usize::from(figure.curves.len() == 1);
            let (x, mut y) = (right as i32 + 18, top + 12);
            for (number, curve) in (first..).zip(&figure.curves) {
                paint_curve(&mut chart, number, curve)?;
                paint_legend(root, number, curve, (x, y))?;
                y += 20;
            }
        }
    }
    if left_out > 0 {
        let text = format!("and {left_out} more events");
        let at = (right as i32 + 18, SIZE.1 as i32 - 60);
        root.draw(&Text::new(text, at, grey))?;
    }
    root.present()
}

fn style(number: usize) -> (ShapeStyle, Option<(u32, u32)>) {
    let colour = COLOURS
        .get(number % COLOURS.len())
        .copied()
        .unwrap_or(BLACK);
    let (width, dashes) = LINES
        .get(number % LINES.len())
        .copied()
        .unwrap_or((2, None));
    // The wide line lies below the others, so it is pale.
    let colour = match width {
        5 => colour.mix(0.4),
        _ => colour.mix(1.0),
    };
    (colour.stroke_width(width), dashes)
}

fn paint_curve<'b>(
    chart: &mut Chart<'_, 'b>,
    number: usize,
    curve: &Curve,
) -> Result<(), Failure<'b>> {
    let (style, dashes) = style(number);
    // Eight markers along a curve, at different points for each curve.
    let apart = curve.points.len().div_ceil(8).max(1);
    let marked = |at: usize| at % apart == (number * apart / 4 + apart / 2) % apart;
    for part in curve.parts() {
        match dashes {
            Some((dash, gap)) => {
                chart.draw_series(DashedLineSeries::new(part, dash, gap, style))?;
            }
            None => {
                chart.draw_series(LineSeries::new(part, style))?;
            }
        }
    }
    let points = curve.points.iter().enumerate();
    let points = points.filter(|(at, _)| marked(*at));
    for point in points.filter_map(|(_, &(x, y))| Some((x, y?))) {
        let at = chart.backend_coord(&point);
        paint_marker(chart.plotting_area(), number, at)?;
    }
    Ok(())
}

/// Paints a marker. Markers of the same shape differ in colour.
fn paint_marker<'b, C: CoordTranslate>(
    area: &DrawingArea<SVGBackend<'b>, C>,
    number: usize,
    (x, y): (i32, i32),
) -> Result<(), Failure<'b>> {
    let area = area.strip_coord_spec();
    let (left, top) = area.get_base_pixel();
    let at = (x - left, y - top);
    let (style, _) = style(number);
    let style = style.color.to_rgba().stroke_width(1);
    match number % 4 {
        0 => area.draw(&Circle::new(at, 4, style.filled())),
        1 => area.draw(&TriangleMarker::new(at, 5, style.filled())),
        2 => area.draw(&Rectangle::new(
            [(at.0 - 3, at.1 - 3), (at.0 + 3, at.1 + 3)],
            style.filled(),
        )),
        _ => area.draw(&Cross::new(at, 4, style.stroke_width(2))),
    }
}

/// Paints a row of the legend, outside the plot.
fn paint_legend<'b>(
    root: &Area<'b>,
    number: usize,
    curve: &Curve,
    (x, y): (i32, i32),
) -> Result<(), Failure<'b>> {
    let (style, dashes) = style(number);
    let (mut from, end) = (x, x + 34);
    while from < end {
        let (dash, gap) = dashes.map_or((34, 0), |(dash, gap)| (dash as i32, gap as i32));
        let to = (from + dash).min(end);
        root.draw(&PathElement::new([(from, y), (to, y)], style))?;
        from = to + gap;
    }
    paint_marker(root, number, (x + 17, y))?;
    let text = ("sans-serif", 12).into_font().color(&BLACK);
    let text = text.pos(Pos::new(HPos::Left, VPos::Center));
    root.draw(&Text::new(curve.name.clone(), (x + 42, y), text))
}

/// Cuts a line of text to the width of the figure.
fn cut(text: &str, character: f64) -> String {
    let most = (f64::from(SIZE.0 - 32) / character) as usize;
    match text.chars().count() <= most {
        true => text.into(),
        false => text.chars().take(most - 1).chain(['…']).collect(),
    }
}
