//! The exit code for each way in which a run ends, and standard streams that cannot be written.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const SCENARIO: &str = r#"name = "x"
duration = "10s"
topology = { kind = "line", nodes = 3 }
"#;

/// A command in a new directory that contains the scenario `x.toml`.
struct Simulator {
    directory: tempfile::TempDir,
    command: Command,
}

impl Simulator {
    fn new(scenario: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("x.toml"), scenario).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinecone-sim"));
        command.current_dir(directory.path()).args(options);
        Self { directory, command }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn run(mut self) -> (Option<i32>, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code(), text(stdout), text(stderr))
    }
}

/// Returns a file that cannot be written to, like one on a full disk.
fn full() -> Stdio {
    let device = OpenOptions::new().write(true).open("/dev/full");
    device.unwrap().into()
}

/// Returns the write end of a pipe that has no reader.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn standard_error_that_cannot_be_written_changes_nothing() {
    let fails = format!("{SCENARIO}expect = {{ \"alive\" = \"== 9\" }}\n");
    for (scenario, options, code) in [
        (SCENARIO, &["x.toml"][..], 0),
        (&fails, &["x.toml", "--quiet"], 1),
        (SCENARIO, &["missing.toml"], 2),
        (SCENARIO, &["--wrong"], 2),
    ] {
        for stderr in [full, closed] {
            let mut simulator = Simulator::new(scenario, options);
            simulator.command.stderr(stderr());
            let (found, _, _) = simulator.run();
            assert_eq!(found, Some(code), "{options:?}");
        }
    }
}

#[test]
fn a_table_that_cannot_be_written_has_a_code_of_its_own() {
    for stdout in [full, closed] {
        let mut simulator = Simulator::new(SCENARIO, &["x.toml", "--json", "x.json"]);
        simulator.command.stdout(stdout());
        let json = simulator.path().join("x.json");
        let directory = simulator.directory.path().to_owned();
        let output = simulator.command.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{errors}");
        assert!(errors.contains("cannot write the table"), "{errors}");
        // The other results are written nevertheless.
        assert!(json.metadata().unwrap().len() > 1000, "{directory:?}");
    }
}

#[test]
fn a_json_file_that_cannot_be_written_has_a_code_of_its_own() {
    let (code, table, errors) = Simulator::new(SCENARIO, &["x.toml", "--json", "/dev/full"]).run();
    assert_eq!(code, Some(3), "{errors}");
    assert!(table.contains("3 nodes, 2 links"), "{table}");
    assert!(
        errors.contains("pinecone-sim: cannot write /dev/full: "),
        "{errors}"
    );
}

#[test]
fn an_expectation_that_fails_has_a_code_of_its_own() {
    let scenario = format!("{SCENARIO}expect = {{ \"alive\" = \"== 9\" }}\n");
    let (code, table, errors) = Simulator::new(&scenario, &["x.toml"]).run();
    assert_eq!(code, Some(1), "{errors}");
    assert!(table.contains("FAILS: alive == 9"), "{table}");
}

#[test]
fn small_refuses_a_mistake_in_the_full_scenario() {
    let small = "[small]\ntopology = { kind = \"line\", nodes = 3 }\n";
    let missing = "topology = { kind = \"file\", path = \"missing.txt\" }";
    let line = "topology = { kind = \"line\", nodes = 3 }";
    for (wrong, hint) in [
        (missing, "write the path of a topology file"),
        ("topology = { kind = \"line\", nodes = 1 }", "write 2 to"),
    ] {
        let scenario = format!("{}{small}", SCENARIO.replacen(line, wrong, 1));
        let (code, table, errors) = Simulator::new(&scenario, &["x.toml", "--small"]).run();
        assert_eq!(code, Some(2), "{errors}");
        assert!(table.is_empty());
        assert!(
            errors.starts_with("pinecone-sim: x.toml:3: ")
                && errors.contains(hint)
                && errors.contains("(without --small)"),
            "{errors}"
        );
    }
}

#[test]
fn a_mistake_in_both_variants_names_no_option() {
    let scenario = format!(
        "{SCENARIO}event = [{{ at = \"2s\", do = \"stop\", node = 7 }}]\n[small]\nduration = \"9s\"\n"
    );
    for options in [&["x.toml"][..], &["x.toml", "--small"]] {
        let (code, _, errors) = Simulator::new(&scenario, options).run();
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains("there is no node 7"), "{errors}");
        assert!(!errors.contains("--small"), "{errors}");
    }
}

#[test]
fn a_wrong_command_line_is_one_line() {
    for options in [
        &[][..],
        &["--smal", "x.toml"],
        &["x.toml", "--seed", "many"],
    ] {
        let (code, table, errors) = Simulator::new(SCENARIO, options).run();
        assert_eq!(code, Some(2), "{errors}");
        assert!(table.is_empty());
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(
            errors.starts_with("pinecone-sim: ") && errors.contains("(see pinecone-sim --help)"),
            "{errors}"
        );
    }
}

#[test]
fn help_has_examples_and_exit_codes() {
    let (code, help, errors) = Simulator::new(SCENARIO, &["--help"]).run();
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        help.contains("Examples:") && help.contains("Exit codes:"),
        "{help}"
    );
}
