//! Mistakes: events after the end of the run, and references to nodes and links that do not exist.

/// Parts of the scenario, the mistake that replaces each, and the hint in the error.
pub(crate) const CASES: &[(&str, &str, &str)] = &[
    (
        "at = \"20s\"",
        "at = \"40s\" # here",
        "write an earlier `at`",
    ),
    (
        "at = \"30s\"",
        "at = \"41s\" # here",
        "write an earlier `at`",
    ),
    (
        "a = 1\nb = 2\nhow",
        "a = 1\nb = 5 # here\nhow",
        "write a number from 0 to 4",
    ),
    (
        "a = 1\nb = 2\nhow",
        "a = -1 # here\nb = 2\nhow",
        "a node is a number from 0",
    ),
    (
        "a = 1\nb = 2\nhow",
        "a = \"rot\" # here\nb = 2\nhow",
        "\"root\", \"hub\" or \"random\"",
    ),
    (
        "a = 1\nb = 2\nhow",
        "a = 1\nb = 3 # here\nhow",
        "not linked",
    ),
    (
        "a = 1\nb = 2\nhow",
        "a = 1\nb = 1 # here\nhow",
        "write another node",
    ),
    (
        "at = \"25s\"\ndo = \"heal\"",
        "at = \"19s\"\ndo = \"heal\" # here",
        "an event before it that cuts",
    ),
    (
        "do = \"heal\"\na = 1\nb = 2",
        "do = \"start\" # here\nnode = 2",
        "an event before it that stops",
    ),
    (
        "do = \"heal\"\na = 1\nb = 2",
        "do = \"link\"\na = 2\nb = 1 # here",
        "linked already",
    ),
    ("node = 3", "node = 9 # here", "write a number from 0 to 4"),
    (
        "[\"traffic\"]",
        "[\"traffic\"]\npeer = 1 # here",
        "write one of its peers",
    ),
    (
        "[\"traffic\"]",
        "[\"traffic\"]\npeer = 3 # here",
        "not its own peer",
    ),
    (
        "[expect]",
        "[[adversary]]\nnode = 3 # here\nat = \"30s\"\ndo = \"claim\"\n[expect]",
        "write another node",
    ),
    (
        "pings = { from = \"10s\", every = \"5s\", count = 2 }\n",
        "expect.\"pings.arrived\" = \"<= 1\" # here\n",
        "write `pings = {",
    ),
    (
        "every = \"1s\", pairs",
        "every = \"6s\", pairs",
        "a shorter `measure.every`",
    ),
];
