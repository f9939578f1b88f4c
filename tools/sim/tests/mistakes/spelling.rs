//! Mistakes: misspelt keys and values.

/// Parts of the scenario, the mistake that replaces each, and the hint in the error.
pub(crate) const CASES: &[(&str, &str, &str)] = &[
    ("name = \"x\"", "nane = \"x\" # here", "there is no key"),
    (
        "duration = ",
        "seeds = 1 # here\nduration = ",
        "write one of",
    ),
    (
        "kind = \"line\", nodes = 5 }",
        "kind = \"lime\", nodes = 5 } # here",
        "`line`",
    ),
    (
        "nodes = 5 }",
        "nodes = 5, link = 2 } # here",
        "write one of kind, nodes",
    ),
    (
        "kind = \"line\", ",
        "kind = 3, # here\n",
        "`kind` must be text in quotes",
    ),
    ("do = \"cut\"", "do = \"cute\" # here", "`cut`"),
    ("how = \"silent\"", "hwo = \"silent\" # here", "how"),
    ("how = \"silent\"", "how = \"quiet\" # here", "`silent`"),
    ("do = \"drop\"", "do = \"drop\"\nrates = 1 # here", "rate"),
    ("[\"traffic\"]", "[\"trafic\"] # here", "`traffic`"),
    (
        "measure = { every = \"1s\", ",
        "measure = { evry = \"1s\", # here\n",
        "`every`",
    ),
    (
        "\"snek.reach\" = ",
        "\"snek.raech\" = \"<= 1\" # here\n#",
        "write `snek.reach`",
    ),
    (
        "\"snek.reach\" = ",
        "\"lost.lop\" = \"<= 1\" # here\n#",
        "write `lost.loop`",
    ),
    (
        "\"snek.reach\" = ",
        "\"speed\" = \"<= 1\" # here\n#",
        "docs/simulation.md",
    ),
    (
        "\"snek.reach\" = ",
        "\"converge.cutt\" = \"<= 1\" # here\n#",
        "write `converge.cut`",
    ),
    (
        "\"snek.reach\" = ",
        "\"converge.cut-2\" = \"<= 1\" # here\n#",
        "write `converge.cut`",
    ),
    ("\"<= 1\"", "\"1\" # here", "write one like \">= 0.98\""),
    ("\"<= 1\"", "\"=< 1\" # here", "write one like"),
    ("\"<= 1\"", "\">= nan\" # here", "write one like"),
    ("\"<= 1\"", "\">= 98\" # here", "a share is from 0 to 1"),
    ("\"<= 1\"", "\"> 1\" # here", "a share is from 0 to 1"),
];
