use super::*;
use crate::time::{MILLISECOND, SECOND};

const TEXT: &str = r#"
    name = "x"
    duration = "2min"
    topology = { kind = "scale-free", nodes = 1000 }
    link.latency = ["1ms", "9ms"]
    pings = { from = "10s", every = "1s", count = 5 }

    [[event]]
    at = "30s"
    do = "churn"
    rate = 0.1
    for = "1min"
    down = "5s"

    [[adversary]]
    node = "hub"
    do = "drop"
    frames = ["bootstrap", "traffic"]

    [expect]
    "snek.reach" = ">= 1"

    [small]
    duration = "20s"
    topology = { nodes = 50 }
"#;

#[test]
fn a_scenario_in_full_and_in_small() {
    let full = Scenario::parse(TEXT, false).unwrap();
    assert_eq!(full.duration, 120 * SECOND);
    assert_eq!(full.link.latency, (MILLISECOND, 9 * MILLISECOND));
    let scale_free = |nodes| Topology::ScaleFree { nodes, links: 2 };
    assert_eq!(full.topology, scale_free(1000));
    assert!(matches!(
        full.event[0].action,
        Action::Churn { lasting, .. } if lasting == 60 * SECOND
    ));
    assert_eq!(full.adversary[0].node, NodeRef::Name("hub".into()));
    let small = Scenario::parse(TEXT, true).unwrap();
    assert_eq!(small.duration, 20 * SECOND);
    assert_eq!(small.topology, scale_free(50));
}

#[test]
fn what_is_misspelt_is_refused() {
    for (right, wrong) in [
        ("rate = 0.1", "rat = 0.1"),
        ("rate = 0.1", "rate = 0.1\nmore = 1"),
        ("\"churn\"", "\"chrun\""),
        ("\"30s\"", "\"30\""),
        ("kind = \"scale-free\"", "kind = \"free\""),
        ("\"drop\"", "\"drop\"\nrates = 1"),
        ("nodes = 1000", "nodes = 1000, link = 3"),
        ("name = \"x\"", "name = \"x\"\nseeds = 1"),
    ] {
        let text = TEXT.replacen(right, wrong, 1);
        assert_ne!(text, TEXT);
        let error = Scenario::parse(&text, false).unwrap_err();
        assert!(matches!(error, Error::Scenario(_)), "{wrong}: {error}");
    }
}
