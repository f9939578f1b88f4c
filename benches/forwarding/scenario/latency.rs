//! One-way latency at low load: the generator writes the time into each frame, and the sink compares it
//! with the clock.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pinecone_load::Pacer;
use pinecone_wire::TrafficLayout;

use super::row::GRACE;
use crate::forwarder::{self, Kind, Tables};
use crate::links::{LOAD_CORE, Links, pin};
use crate::load;
use crate::options::Settings;
use crate::priority::Raised;
use crate::report::{Section, Spread, Table, ratio};
use crate::traffic::{Fill, frame};
use crate::watchdog;

const KINDS: [Kind; 6] = [
    Kind::Relay,
    Kind::Epoll,
    Kind::Uring,
    Kind::UringBusy,
    Kind::UringBatch,
    Kind::TokioUring,
];
/// Frames per second.
const RATE: u32 = 2000;
const SIZE: usize = 64;

pub(super) fn latency(settings: &Settings) -> Result<Section> {
    let tables = Tables::new(1, settings.routes.min(1000), Fill::Replayed);
    let frames = (3.0 * settings.seconds * f64::from(RATE)) as usize;
    let priority = match Raised::new() {
        Some(_) => "All threads but those of the row with `--busy-poll` have real-time priority.",
        None => "Real-time priority was not available, so p99 depends on other programs.",
    };
    let mut rounds = KINDS.map(|_| Vec::new());
    for _ in 0..settings.rounds {
        for (kind, rounds) in KINDS.iter().zip(&mut rounds) {
            rounds.push(measure(*kind, &tables, frames.max(20))?);
        }
    }
    let quantiles = |q| [q, "over the relay's", "of the relay's"];
    let columns = [
        [""].as_slice(),
        &quantiles("p50, us"),
        &quantiles("p99, us"),
    ];
    let mut table = Table::new(&columns.concat());
    for (kind, row) in KINDS.iter().zip(&rounds) {
        let cells = [0, 1].map(|i: usize| {
            let value = Spread::of(row.iter().map(|r| r[i]));
            let over = Spread::of_pairs(row, &rounds[0], |a, b| a[i] - b[i]);
            let part = Spread::of_pairs(row, &rounds[0], |a, b| a[i] / b[i]);
            let [over, part] = match kind {
                Kind::Relay => [String::new(), String::new()],
                _ => [over.show(|x| format!("{x:+.1}")), part.show(ratio)],
            };
            [value.show(|x| format!("{x:.1}")), over, part]
        });
        table.row([kind.to_string()].into_iter().chain(cells.concat()));
    }
    Ok(Section {
        title: "One-way latency at low load",
        text: format!(
            "{RATE} frames of {SIZE} bytes per second, one connection in and one out. Generator and \
             sink share a core and sleep between frames. Quantiles are those of a round of {frames} \
             frames, as the median of the rounds. `--busy-poll` \
             is 2000, `--batch-wait` 100. {priority}\n\n{}",
            table.text()
        ),
        ..Section::default()
    })
}

/// Returns the quantiles 0.5 and 0.99 in microseconds.
fn measure(kind: Kind, tables: &Tables, frames: usize) -> Result<[f64; 2]> {
    let what = format!("{kind}, latency");
    let time = Duration::from_secs(frames as u64) / RATE;
    let _watch = watchdog::watch(time + GRACE, &what);
    // The kernel takes a spinning real-time thread off the core for a part of each second.
    let spins = kind == Kind::UringBusy;
    let _raised = if spins { None } else { Raised::new() };
    let links = Links::new(1);
    let router = forwarder::start(kind, links.router, tables)?;
    let (mut input, output) = (&links.inputs[0], &links.outputs[0]);
    output.set_read_timeout(Some(Duration::from_secs(5)))?;
    let epoch = Instant::now();
    let times = std::thread::scope(|scope| {
        let sink = scope.spawn(move || {
            pin(LOAD_CORE);
            collect(output, frames, epoch)
        });
        let generator = scope.spawn(move || -> Result<()> {
            pin(LOAD_CORE);
            // Sleeps end on time and are not batched by the kernel.
            let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
            let mut bytes = frame(0, 0, SIZE, Fill::Replayed);
            let stamp = TrafficLayout::parse(&bytes)?.payload_range().start;
            let mut pacer = Pacer::catching_up(f64::from(RATE));
            for _ in 0..frames {
                std::thread::sleep(pacer.next().saturating_sub(epoch.elapsed()));
                let now = epoch.elapsed().as_nanos() as u64;
                bytes[stamp..stamp + 8].copy_from_slice(&now.to_be_bytes());
                input.write_all(&bytes).context("cannot write")?;
                pacer.sent(1);
            }
            Ok(())
        });
        generator.join().expect("generator")?;
        sink.join().expect("sink")
    });
    let mut times = times.context(what)?;
    load::await_balance(&*router, frames as u64)?;
    let _ = input.shutdown(Shutdown::Both);
    // The first tenth runs with cold caches.
    let times = &mut times[frames / 10..];
    times.sort_unstable();
    let at = |part: f64| times[(times.len() as f64 * part) as usize] as f64 / 1000.0;
    Ok([at(0.5), at(0.99)])
}

/// Returns the latency of each frame in nanoseconds.
fn collect(mut output: &TcpStream, frames: usize, epoch: Instant) -> Result<Vec<u64>> {
    let len = frame(0, 0, SIZE, Fill::Replayed).len();
    let (mut times, mut buffer, mut filled) = (Vec::with_capacity(frames), vec![0; 64 * len], 0);
    while times.len() < frames {
        let n = match output.read(&mut buffer[filled..]) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e).context(format!("after {} frames", times.len())),
        };
        let now = epoch.elapsed().as_nanos() as u64;
        ensure!(n > 0, "the router has closed the connection");
        filled += n;
        let whole = filled / len * len;
        for frame in buffer[..whole].chunks_exact(len) {
            let stamp = TrafficLayout::parse(frame)?.payload_range().start;
            let sent = u64::from_be_bytes(frame[stamp..stamp + 8].try_into()?);
            times.push(now.saturating_sub(sent));
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
    }
    Ok(times)
}
