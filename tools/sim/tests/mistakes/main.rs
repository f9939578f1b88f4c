//! Mistakes in input are refused before the run, with the file, the line and a hint.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod kinds;
mod references;
mod spelling;

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

/// Runs a scenario with a mistake on the line with `# here`, and checks that it is refused.
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
    // Standard output stays empty, as nothing is run.
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

#[test]
fn a_mistake_in_a_scenario() {
    let mut wrongs = Vec::new();
    let cases = [
        spelling::CASES,
        kinds::CASES,
        bounds::CASES,
        references::CASES,
    ];
    for (right, wrong, hint) in cases.into_iter().flatten() {
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
    // Messages name nodes as the topology file does.
    let apart = scenario.replacen("b = \"b\"", "b = \"c\" # here", 1);
    refused(
        &apart,
        Some("a b\nb c\n"),
        "nodes `a` and `c` are not linked",
    )
    .unwrap();
    let again = scenario
        .replacen("do = \"heal\"", "do = \"link\"", 1)
        .replacen(
            "b = \"b\"\n\n[[adversary]]",
            "b = \"b\" # here\n\n[[adversary]]",
            1,
        );
    let hint = "nodes `a` and `b` are linked already";
    refused(&again, Some("a b\nb c\n"), hint).unwrap();
    let peer = "[\"traffic\"]\npeer = \"d\" # here";
    let peer = scenario.replacen("[\"traffic\"]", peer, 1);
    let hint = "node `d` is not a peer of node `b`";
    refused(&peer, Some("a b\nb c\nc d\n"), hint).unwrap();
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
fn a_mistake_with_small_values_says_so_without_the_option() {
    let text = format!("{SCENARIO}[small]\nduration = \"20s\"\n").replacen(
        "at = \"20s\"",
        "at = \"20s\" # here",
        1,
    );
    refused(
        &text,
        None,
        "an earlier `at`, or a longer `duration` (with --small)",
    )
    .unwrap();
}

#[test]
fn a_list_of_tables_written_as_several_tables() {
    let twice = SCENARIO
        .replacen("[[event]]", "[event] # here", 1)
        .replacen("[[event]]", "[event]", 1);
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
        ("--plots", "missing/plots", "create the directory around it"),
        ("--plots", "x.toml", "give a directory"),
        ("--json", "missing/x.json", "create its directory"),
        ("--json", ".", "give a file"),
        ("--json", "x.toml", "the scenario is read from there"),
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
