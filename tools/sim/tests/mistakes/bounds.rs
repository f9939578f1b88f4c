//! Mistakes: values out of bounds.

/// Parts of the scenario, the mistake that replaces each, and the hint in the error.
pub(crate) const CASES: &[(&str, &str, &str)] = &[
    (
        "nodes = 5",
        "nodes = 1000000000 } # here\nlink = { loss = 0",
        "write 2 to 1000000",
    ),
    (
        "nodes = 5",
        "nodes = -5 } # here\nlink = { loss = 0",
        "a whole number",
    ),
    (
        "nodes = 5",
        "nodes = 1 } # here\nlink = { loss = 0",
        "write 2 to",
    ),
    (
        "nodes = 5 }",
        "nodes = 5 }\nnetwork.copies = 0 # here",
        "write at least 1",
    ),
    (
        "nodes = 5 }",
        "nodes = 5 } # here\nnetwork.copies = 1000000",
        "1000000 nodes in all",
    ),
    (
        "duration = \"40s\"",
        "duration = \"40\" # here",
        "write \"30s\"",
    ),
    (
        "duration = \"40s\"",
        "duration = \"0s\" # here",
        "more than zero",
    ),
    (
        "duration = \"40s\"",
        "duration = \"-4s\" # here",
        "write \"30s\"",
    ),
    (
        "duration = \"40s\"",
        "duration = 40 # here",
        "text in quotes",
    ),
    (
        "duration = \"40s\"",
        "duration = \"600years\" # here",
        "at most \"366days\"",
    ),
    (
        "every = \"1s\"",
        "every = \"0ms\" } # here\nlink = { loss = 0 } #",
        "more than zero",
    ),
    (
        "every = \"1s\"",
        "every = \"41s\" } # here\nlink = { loss = 0 } #",
        "at most `duration`",
    ),
    (
        "every = \"1s\"",
        "every = \"1ns\" } # here\nlink = { loss = 0 } #",
        "a longer time",
    ),
    (
        "pairs = 20",
        "pairs = 0 } # here\nlink = { loss = 0",
        "write at least 1",
    ),
    (
        "pairs = 20",
        "converged = 1.5 } # here\nlink = { loss = 0",
        "at most 1",
    ),
    (
        "pairs = 20 }",
        "pairs = 20 }\nlink.loss = 1.5 # here",
        "not including, 1",
    ),
    (
        "pairs = 20 }",
        "pairs = 20 }\nlink.loss = -0.5 # here",
        "from 0 up to",
    ),
    (
        "pairs = 20 }",
        "pairs = 20 }\nlink.loss = nan # here",
        "from 0 up to",
    ),
    (
        "pairs = 20 }",
        "pairs = 20 }\nlink.latency = \"0s\" # here",
        "more than zero",
    ),
    (
        "pairs = 20 }",
        "pairs = 20 }\nlink.latency = [\"9ms\", \"1ms\"] # here",
        "write [\"1ms\", \"9ms\"]",
    ),
    (
        "pairs = 20 }",
        "pairs = 20 }\nlink.latency = 5 # here",
        "write one time",
    ),
    (
        "pairs = 20 }",
        "pairs = 20 }\nlink.bandwidth = -1 # here",
        "a whole number",
    ),
    (
        "pairs = 20 }",
        "pairs = 20 }\nnetwork.start-within = \"2min\" # here",
        "less than `duration`",
    ),
    (
        "pairs = 20 }",
        "pairs = 20 }\nnetwork.max-routes = 0 # here",
        "write at least 1",
    ),
    (
        "count = 2",
        "count = 0 } # here\nlink = { loss = 0",
        "write at least 1",
    ),
    (
        "count = 2",
        "count = 10000000 } # here\nlink = { loss = 0",
        "at most 10000000 pings",
    ),
    (
        "count = 2",
        "count = 2, min-distance = 0 } # here\nlink = { loss = 0",
        "write at least 1",
    ),
    (
        "count = 2",
        "count = 2, min-distance = 5 } # here\nlink = { loss = 0",
        "write less",
    ),
    (
        "every = \"5s\", count",
        "every = \"0s\", # here\ncount",
        "more than zero",
    ),
    (
        "from = \"10s\", ",
        "from = \"36s\", # here\n",
        "at most \"35s\"",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"partition\"\nshare = 1.5 # here",
        "above 0 and below 1",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"partition\"\nshare = nan # here",
        "above 0 and below 1",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"partition\"\nshare = 0.1 # here",
        "nearer to 0.5",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"churn\"\nfor = \"9s\"\ndown = \"1s\"\nrate = -1 # here",
        "above 0, at most 10",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"churn\"\nfor = \"9s\"\ndown = \"1s\"\nrate = 0.01 # here",
        "a higher rate",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"churn\"\nfor = \"0s\" # here\ndown = \"1s\"\nrate = 1",
        "more than zero",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"remove-nodes\"\ncount = 0 # here",
        "at least 1",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"remove-nodes\"\ncount = 6 # here",
        "write no more",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"cut-links\"\ncount = 5 # here",
        "there are 4 links",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"cut-links\"\ncount = 1\nheal-after = \"20s\" # here",
        "a shorter time",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2\nhow = \"silent\"",
        "do = \"set-links\" # here",
        "write one of `latency`",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2\nhow = \"silent\"",
        "do = \"set-links\"\nloss = 1.0 # here",
        "not including, 1",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2\nhow = \"silent\"",
        "do = \"add-nodes\"\ncount = 2000000 # here",
        "makes 1000000 nodes",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2\nhow = \"silent\"",
        "do = \"add-nodes\"\ncount = 1\nlinks = 9 # here",
        "there are 5 nodes",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2\nhow = \"silent\"",
        "do = \"join\" # here",
        "write `network.copies = 2`",
    ),
    (
        "do = \"cut\"\na = 1\nb = 2",
        "do = \"move\" # here\nrange = 9\nstep = 1\nevery = \"1s\"\nrounds = 3",
        "random-geometric",
    ),
    ("[\"traffic\"]", "[] # here", "write [\"traffic\"]"),
    (
        "[\"traffic\"]",
        "[\"traffic\"]\nrate = 2 # here",
        "at most 1",
    ),
    (
        "do = \"drop\"\nframes = [\"traffic\"]",
        "do = \"flood\"\ncount = 0 # here",
        "at least 1",
    ),
    (
        "do = \"drop\"\nframes = [\"traffic\"]",
        "do = \"deny\"\nevery = \"0s\" # here",
        "more than zero",
    ),
    (
        "do = \"drop\"\nframes = [\"traffic\"]",
        "do = \"claim\"\nevery = \"1s\" # here",
        "no key",
    ),
    (
        "nodes = 5 }",
        "nodes = 5 }\nnetwork.wakeup-hops = 6 # here",
        "write 1 to 5",
    ),
    (
        "nodes = 5 }",
        "nodes = 5 }\nnetwork.wakeup-hops = 300 # here",
        "a whole number from 0 to 255",
    ),
];
