//! The part of docs/performance.md that this bench writes.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::report::Section;

const BEGIN: &str = "<!-- forwarding: begin (written by the forwarding bench) -->";
const END: &str = "<!-- forwarding: end -->";

/// Returns the time, the machine and the command of this measurement.
pub fn conditions() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown processor", |l| {
            l.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load: Vec<_> = load.split(' ').take(3).collect();
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    format!(
        "{}; {model}, {cores} cores; Linux {}; load average before {}; commit {}.\n\n\
         ```sh\ncargo bench -p pinecone-benches --bench forwarding -- {}\n```\n",
        output_of("date", &["-u", "+%-d %B %Y, %H:%M UTC"]),
        read("/proc/sys/kernel/osrelease").trim(),
        load.join(" "),
        output_of("git", &["describe", "--always", "--dirty"]),
        arguments.join(" ")
    )
}

/// Returns the text of a section.
pub fn section(section: &Section) -> String {
    let mut out = format!("### {}\n\n{}", section.title, section.text);
    for failure in &section.failures {
        let _ = write!(out, "\n**Failed**: {failure}\n");
    }
    for plot in &section.plots {
        let _ = write!(out, "\n![{}](plots/{}.svg)\n", plot.title, plot.name);
    }
    out
}

/// Replaces the text between the markers, and the plots.
pub fn write(docs: &Path, conditions: &str, sections: &[Section]) -> Result<()> {
    let path = docs.join("performance.md");
    let old = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (head, rest) = old
        .split_once(BEGIN)
        .context("performance.md has no begin marker")?;
    let (_, tail) = rest
        .split_once(END)
        .context("performance.md has no end marker")?;
    let mut new = format!("{head}{BEGIN}\n\n{conditions}");
    for part in sections {
        let _ = write!(new, "\n{}", section(part));
    }
    let _ = write!(new, "\n{END}{tail}");
    let plots = docs.join("plots");
    fs::create_dir_all(&plots).with_context(|| plots.display().to_string())?;
    for plot in sections.iter().flat_map(|s| &s.plots) {
        plot.draw(&plots)?;
    }
    fs::write(&path, new).with_context(|| path.display().to_string())
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
