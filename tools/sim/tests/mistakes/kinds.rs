//! Mistakes: values of the wrong kind, and missing keys.

/// Parts of the scenario, the mistake that replaces each, and the hint in the error.
pub(crate) const CASES: &[(&str, &str, &str)] = &[
    (
        "duration = \"40s\"",
        "duration = 40 # here",
        "write \"40s\"",
    ),
    ("at = \"20s\"", "at = 20 # here", "write \"20s\""),
    (
        "from = \"10s\", ",
        "from = 10.5, # here\n",
        "write \"10.5s\"",
    ),
    ("\"<= 1\"", "1 # here", "= \"== 1\"`"),
    ("\"<= 1\"", "0.5 # here", "= \"== 0.5\"`"),
    (
        "\"snek.reach\" = ",
        "snek.reach = \">= 0.9\" # here\n#",
        "write `\"snek.reach\" = ",
    ),
    (
        "\"snek.reach\" = ",
        "snek.reach.mean = 1 # here\n#",
        "write `\"snek.reach.mean\" = \"== 1\"`",
    ),
    (
        "[\"traffic\"]",
        "\"traffic\" # here",
        "write it like [\"traffic\"]",
    ),
    ("[[event]]", "[event] # here", "write `[[event]]`"),
    (
        "[[adversary]]",
        "[adversary] # here",
        "write `[[adversary]]`",
    ),
    (
        "[[event]]\nat = \"20s\"\ndo = \"cut\"",
        "[[event]] # here\nat = \"20s\"",
        "missing: write one of `add-nodes`",
    ),
    ("do = \"cut\"", "do = 3 # here", "write one of `add-nodes`"),
    (
        "[[adversary]]\nnode = 3\nat = \"30s\"\ndo = \"drop\"",
        "[[adversary]] # here\nnode = 3",
        "missing: write one of `drop`",
    ),
    (
        "{ kind = \"line\", nodes = 5 }",
        "{ nodes = 5 } # here",
        "`kind` is missing: write one of `line`",
    ),
    (
        "[expect]",
        "[small]\nsede = 1 # here\n[expect]",
        "there is no key",
    ),
    (
        "[expect]",
        "[small]\nlink.loss = 3 # here\n[expect]",
        "`loss` is 3",
    ),
    (
        "[expect]",
        "[small]\ntopology.nodes = 2\nevent = [{ at = \"9s\", do = \"cut\", a = 1, b = 2 }] # here\n[expect]",
        "there is no node 2",
    ),
    (
        "duration = \"40s\"",
        "duration = true # here",
        "write \"30s\"",
    ),
    (
        "duration = \"40s\"",
        "duration = 40s # here",
        "write it as \"…\"",
    ),
    (
        "duration = ",
        "name = \"y\" # here\nduration = ",
        "write it once",
    ),
    (
        "duration = ",
        "network = 3 # here\nduration = ",
        "write `[network]`",
    ),
    (
        "duration = ",
        "network = [] # here\nduration = ",
        "write `[network]`",
    ),
    (
        "pings = { from = \"10s\", every = \"5s\", count = 2 }",
        "pings = 5 # here",
        "write `[pings]`",
    ),
    (
        "measure = { every = \"1s\", pairs = 20 }\npings = { from = \"10s\", every = \"5s\", count = 2 }",
        "[[measure]] # here\npairs = 20",
        "write `[measure]`",
    ),
    ("[expect]", "[[expect]] # here", "write `[expect]`"),
    ("[expect]", "[[small]] # here\n[expect]", "write `[small]`"),
    (
        "[expect]",
        "[small.event] # here\n[expect]",
        "write `[[small.event]]`",
    ),
    (
        "topology = { kind = \"line\", nodes = 5 }",
        "topology = \"line\" # here",
        "write { kind",
    ),
    (
        "how = \"silent\"",
        "how = true # here",
        "write `closed` or `silent`",
    ),
    (
        "pairs = 20",
        "converged-by = 1 } # here\nlink = { loss = 0",
        "write `both` or",
    ),
    ("[\"traffic\"]", "[1] # here", "write one of `announcement`"),
    (
        "at = \"20s\"",
        "At = \"20s\" # here",
        "write one of at, do, a, b, how",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2\nhow = \"silent\"",
        "do = \"kill-root\"\n[[event]]\nat = \"22s\"\ndo = \"merge\"\nhow = \"silent\" # here",
        "write one of at, do",
    ),
    (
        "node = 3",
        "nodes = 3 # here",
        "write one of node, at, do, frames",
    ),
    (
        "[[event]]\nat = \"20s\"",
        "[[event]] # here",
        "missing key `at`: write it here",
    ),
    ("\"<= 1\"", "true # here", "= \">= 0.98\"`"),
    (
        "kind = \"line\", nodes = 5 }",
        "kind = \"file\", path = \"no.txt\" } # here",
        "write the path of a topology file",
    ),
    (
        "[expect]",
        "[small]\nduration = 3 # here\n[expect]",
        "write \"3s\"",
    ),
];
