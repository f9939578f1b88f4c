use std::collections::BTreeSet;

use super::*;
use crate::{Scenario, run};

/// A text in a plot and its position.
#[derive(Debug)]
struct Label {
    text: String,
    x: f64,
    y: f64,
    anchor: String,
    size: f64,
    rotated: bool,
}

fn labels(svg: &str) -> Vec<Label> {
    let elements = svg.split("<text ").skip(1);
    let label = |element: &str| {
        let (head, rest) = element.split_once(">\n").unwrap();
        let attribute = |name: &str| {
            let (_, value) = head.split_once(&format!("{name}=\""))?;
            value.split_once('"').map(|(value, _)| value.to_owned())
        };
        Label {
            text: rest.split_once("\n</text>").unwrap().0.into(),
            x: attribute("x").unwrap().parse().unwrap(),
            y: attribute(" y").unwrap().parse().unwrap(),
            anchor: attribute("text-anchor").unwrap_or_default(),
            size: attribute("font-size").unwrap().parse().unwrap(),
            rotated: attribute("transform").is_some(),
        }
    };
    elements.map(label).collect()
}

fn report(extra: &str) -> Report {
    let text = format!(
        r#"
        name = "a name that describes the network and its events"
        about = "{}"
        duration = "60s"
        topology = {{ kind = "ring", nodes = 8 }}
        pings = {{ from = "20s", every = "2s", count = 9 }}
        event = [
            {{ at = "30s", do = "cut-links", count = 1, how = "silent", heal-after = "9s" }},
            {{ at = "31s", do = "set-links", loss = 0.01 }},
            {{ at = "59s", do = "kill-root", how = "silent" }},
        ]
        {extra}
        "#,
        "long ".repeat(60)
    );
    let scenario = Scenario::parse(&text, false).unwrap();
    run(&scenario, |_| {}).unwrap()
}

#[test]
fn texts_are_on_the_plot_and_differ_and_the_legend_is_beside_it() {
    let report =
        report("adversary = [{ node = 3, at = \"40s\", do = \"drop\", frames = [\"traffic\"] }]");
    let names: Vec<_> = report.events.iter().map(|event| &event.name).collect();
    assert_eq!(names, ["start", "cut-links", "set-links", "kill-root"]);
    let figures = figures(&report);
    let files: BTreeSet<_> = figures.iter().map(|(file, _)| *file).collect();
    assert_eq!(files.len(), figures.len());
    assert!(files.contains("pings") && files.contains("lost") && files.contains("honest"));
    for (file, figure) in &figures {
        let svg = paint::paint(figure).unwrap();
        let labels = labels(&svg);
        let with =
            |text: &str| -> Vec<_> { labels.iter().filter(|label| label.text == text).collect() };
        // No text is cut off. The width of a character is less than 0.6 of its height.
        for label in labels.iter().filter(|label| !label.rotated) {
            let width = label.text.chars().count() as f64 * label.size * 0.6;
            let left = match label.anchor.as_str() {
                "middle" => label.x - width / 2.0,
                "end" => label.x - width,
                _ => label.x,
            };
            assert!(left >= 0.0 && left + width <= 960.0, "{file}: {label:?}");
            assert!(label.y >= 0.0 && label.y <= 440.0, "{file}: {label:?}");
        }
        // All events are named, in the strip above the plot.
        for name in names.iter().skip(1) {
            assert_eq!(with(name).len(), 1, "{file}: {name}");
        }
        // Both axes are labelled, and no two ticks have the same label.
        assert_eq!(with(figure.y).len(), 1, "{file}");
        assert_eq!(with("time since the start, s").len(), 1, "{file}");
        for ticks in [figure.x_ticks(), figure.y_ticks()] {
            let texts: BTreeSet<_> = ticks.at.iter().map(|&at| ticks.label(at)).collect();
            assert_eq!(texts.len(), ticks.at.len(), "{file}: {texts:?}");
        }
        let ticks = labels
            .iter()
            .filter(|label| label.anchor == "end")
            .map(|label| &label.text);
        let ticks: Vec<_> = ticks.collect();
        assert!(ticks.len() > 2, "{file}");
        assert_eq!(
            ticks.iter().collect::<BTreeSet<_>>().len(),
            ticks.len(),
            "{file}: {ticks:?}"
        );
        // The legend names every curve, to the right of the plot.
        let x_end = labels
            .iter()
            .filter(|label| label.anchor == "middle" && !label.rotated);
        let edge = 960.0 - 196.0;
        assert!(
            x_end.map(|label| label.x).all(|x| x <= edge + 1.0),
            "{file}"
        );
        if figure.nothing.is_some() && figure.is_empty() {
            assert_eq!(with("none lost").len(), 1, "{file}");
            continue;
        }
        for curve in &figure.curves {
            let legend = with(&curve.name)
                .iter()
                .filter(|label| label.x > edge)
                .count();
            assert_eq!(legend, 1, "{file}: {}", curve.name);
        }
    }
}

#[test]
fn curves_that_coincide_can_be_told_apart() {
    let points: Vec<_> = (0..=60).map(|n| (f64::from(n), Some(50.0))).collect();
    let figure = Figure {
        title: "x".into(),
        subtitle: "x".into(),
        y: "%",
        nothing: None,
        curves: ["a", "b", "c", "d"]
            .map(|name| Curve {
                name: name.into(),
                points: points.clone(),
            })
            .into(),
        events: Vec::new(),
        end: 60.0,
        top: Some(100.0),
    };
    let svg = paint::paint(&figure).unwrap();
    let lines = svg
        .split('<')
        .filter(|element| element.starts_with("polyline "));
    let mut widths = BTreeSet::new();
    let mut colours = BTreeSet::new();
    for line in lines {
        let attribute = |name: &str| {
            let (_, value) = line.split_once(&format!("{name}=\"")).unwrap();
            value.split_once('"').unwrap().0.to_owned()
        };
        widths.insert(attribute("stroke-width"));
        colours.insert(attribute("stroke"));
    }
    assert!(widths.len() >= 3, "{widths:?}");
    assert!(colours.len() >= 4, "{colours:?}");
    // The curve that is drawn last leaves gaps in which those below can be seen.
    let dashes = svg.matches("stroke=\"#8C3CA0\"").count();
    assert!(dashes > 40, "{dashes}");
}

#[test]
fn a_run_without_losses_says_so_and_has_no_repeated_tick() {
    let scenario = r#"
        name = "x"
        duration = "30s"
        topology = { kind = "line", nodes = 2 }
    "#;
    let scenario = Scenario::parse(scenario, false).unwrap();
    let report = run(&scenario, |_| {}).unwrap();
    let figures = figures(&report);
    assert!(
        figures
            .iter()
            .all(|(file, _)| *file != "pings" && *file != "lost")
    );
    let lost = figures
        .iter()
        .find(|(file, _)| *file == "lost-by-coordinates");
    let svg = paint::paint(&lost.unwrap().1).unwrap();
    let texts: Vec<_> = labels(&svg).into_iter().map(|label| label.text).collect();
    assert!(texts.contains(&"none lost".to_owned()), "{texts:?}");
    assert_eq!(
        texts.iter().filter(|text| *text == "0.0").count(),
        1,
        "{texts:?}"
    );
}
