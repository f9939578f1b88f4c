use super::*;
use crate::time::{MILLISECOND, SECOND};
use crate::topology::Topology;

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
    duration = "50s"
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
    assert_eq!(small.duration, 50 * SECOND);
    assert_eq!(small.topology, scale_free(50));
}

#[test]
fn events_are_numbered_in_order_of_time() {
    let text = r#"
        name = "x"
        duration = "1min"
        topology = { kind = "line", nodes = 3 }
        event = [
            { at = "9s", do = "kill-root" },
            { at = "5s", do = "kill-root" },
            { at = "7s", do = "start", node = 1 },
        ]
        expect = { "converge.kill-root-2" = "<= 3", "converge.start-node" = "<= 3" }
    "#;
    let scenario = Scenario::parse(text, false).unwrap();
    let names = ["kill-root-2", "kill-root", "start-node"];
    assert_eq!(scenario.event_names(), names);
}
