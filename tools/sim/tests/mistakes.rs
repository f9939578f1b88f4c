//! Mistakes in input are refused before the run, with the file, the line and a hint.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::{Command, Output};

const SCENARIO: &str = r#"name = "x"
duration = "40s"
topology = { kind = "line", nodes = 5 }
measure = { every = "1s", pairs = 20 }
pings = { from = "10s", every = "5s", count = 2 }

[[event]]
at = "20s"
do = "cut"
a = 1
b = 2
how = "silent"

[[event]]
at = "25s"
do = "heal"
a = 1
b = 2

[[adversary]]
node = 3
at = "30s"
do = "drop"
frames = ["traffic"]

[expect]
"snek.reach" = "<= 1"
"#;

fn simulate(directory: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pinecone-sim"))
        .current_dir(directory)
        .args(options)
        .output()
        .unwrap()
}

/// Runs a scenario whose mistake is on the line with `# here`.
fn refused(scenario: &str, map: Option<&str>, hint: &str) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.toml"), scenario).unwrap();
    if let Some(map) = map {
        std::fs::write(directory.path().join("map.txt"), map).unwrap();
    }
    let output = simulate(directory.path(), &["x.toml"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    let (file, text) = match map {
        Some(map) if map.contains("# here") => ("map.txt", map),
        _ => ("x.toml", scenario),
    };
    let line = text.lines().position(|line| line.contains("# here"));
    let start = format!("pinecone-sim: {file}:{}: ", line.unwrap() + 1);
    // Standard output is empty, as the run has not begun.
    let expected = output.status.code() == Some(2)
        && output.stdout.is_empty()
        && errors.starts_with(&start)
        && errors.contains(hint)
        && errors.lines().count() == 1;
    let marked = text.lines().find(|line| line.contains("# here"));
    match expected {
        true => Ok(()),
        false => Err(format!(
            "at {marked:?} wanted `{start}` and `{hint}` with code 2, found {:?}: {errors}",
            output.status.code()
        )),
    }
}

#[test]
fn the_scenario_without_mistakes_runs() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.toml"), SCENARIO).unwrap();
    let output = simulate(directory.path(), &["x.toml", "-q"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{errors}");
}

/// Each case: what stands in the scenario, what is put there, and the hint.
const MISTAKES: &[(&str, &str, &str)] = &[
    // What is misspelt.
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
        "write one of nodes",
    ),
    (
        "kind = \"line\", ",
        "kind = 3, # here\n",
        "`kind` is a text in quotes",
    ),
    (
        "{ kind = \"line\", nodes = 5 }",
        "{ nodes = 5 } # here",
        "`kind` is missing",
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
    ("\"<= 1\"", "1 # here", "text in quotes"),
    // Values of the wrong kind.
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
    ("[\"traffic\"]", "\"traffic\" # here", "write a list"),
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
        "missing: write one of `line`",
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
    // What is out of bounds.
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
    // What never comes, or refers to what is not there.
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

#[test]
fn a_mistake_in_a_scenario() {
    let mut wrongs = Vec::new();
    for (right, wrong, hint) in MISTAKES {
        assert!(SCENARIO.contains(right), "{right}");
        let mut text = SCENARIO.replacen(right, wrong, 1);
        if wrong.contains("expect.") {
            text = text
                .replace("[expect]\n", "#")
                .replace("\"snek.reach\"", "#");
        }
        if hint.contains("measure.every") {
            // Both events are between two samples.
            text = text.replace("\"snek.reach\" =", "\"converge.cut\" = \"<= 9\" # here\n#");
            text = text.replace("at = \"25s\"", "at = \"21s\"");
        }
        wrongs.extend(refused(&text, None, hint).err());
    }
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
}

#[test]
fn a_mistake_in_a_topology_file() {
    let scenario = SCENARIO
        .replace(
            "kind = \"line\", nodes = 5",
            "kind = \"file\", path = \"map.txt\"",
        )
        .replace("a = 1\nb = 2", "a = \"a\"\nb = \"b\"")
        .replace("node = 3", "node = \"b\"");
    for (map, hint) in [
        ("a,b # here\nb,c\n", "with spaces between, like `a b`"),
        ("a b\na -- b; # here\n", "with spaces between"),
        ("a # here\nb\n", "write two names a line"),
        ("a b\nc # here\n", "`c` has no link: write two names"),
        ("a b\nb e\nc d # here\n", "or `islands = true`"),
        ("a b\nb b # here\n", "write two names"),
        ("a b\nb a # here\n", "the link of line 1 again"),
        ("# here\n", "write two names a line"),
    ] {
        refused(&scenario, Some(map), hint).unwrap();
    }
    // Nodes are called by their names.
    let apart = scenario.replacen("b = \"b\"", "b = \"c\" # here", 1);
    refused(
        &apart,
        Some("a b\nb c\n"),
        "nodes `a` and `c` are not linked",
    )
    .unwrap();
    let map = "alfa bravo\nbravo charly\n";
    for (node, hint) in [
        ("bravp", "write `bravo`"),
        ("zulu", "from the topology file"),
    ] {
        let scenario = scenario
            .replace("\"a\"", "\"alfa\"")
            .replace("\"b\"", "\"bravo\"")
            .replace("node = \"bravo\"", &format!("node = \"{node}\" # here"));
        refused(&scenario, Some(map), hint).unwrap();
    }
}

#[test]
fn a_list_of_tables_written_as_several_tables() {
    let twice =
        SCENARIO
            .replacen("[[event]]", "[event]", 1)
            .replacen("[[event]]", "[event] # here", 1);
    refused(&twice, None, "write `[[event]]`").unwrap();
}

#[test]
fn a_mistake_in_the_small_table_is_found_there() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{SCENARIO}[small]\nlink.loss = 3\n");
    std::fs::write(directory.path().join("x.toml"), &text).unwrap();
    let output = simulate(directory.path(), &["x.toml", "--small"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    let line = text.lines().count();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains(&format!("x.toml:{line}: `loss` is 3")),
        "{errors}"
    );

    std::fs::write(directory.path().join("x.toml"), SCENARIO).unwrap();
    let output = simulate(directory.path(), &["x.toml", "--small"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("leave out --small"), "{errors}");
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_the_run() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.toml"), SCENARIO).unwrap();
    for (option, path, hint) in [
        ("--plots", "missing/plots", "make the directory around it"),
        ("--plots", "x.toml", "give a directory"),
        ("--json", "missing/x.json", "make its directory"),
        ("--json", ".", "give a file"),
    ] {
        let output = simulate(directory.path(), &["x.toml", option, path]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(output.stdout.is_empty(), "{errors}");
        let start = format!("pinecone-sim: {option} {path}: ");
        assert!(
            errors.starts_with(&start) && errors.contains(hint) && errors.contains("another path"),
            "{errors}"
        );
    }
}

#[test]
fn a_failed_expectation_is_named_even_when_quiet() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{SCENARIO}\"roots\" = \"== 7\"\n\"alive\" = \"== 5\"\n");
    std::fs::write(directory.path().join("x.toml"), text).unwrap();
    let output = simulate(directory.path(), &["x.toml", "-q"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty());
    assert!(errors.contains("FAILS: roots == 7 (found "), "{errors}");
    assert!(!errors.contains("alive"), "{errors}");
}
