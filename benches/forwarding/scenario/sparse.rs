//! Sparse traffic: single small frames, each from and to a random peer, so that every frame may need a
//! wakeup.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pinecone_benches::Random;
use pinecone_load::Pacer;
use rustix::event::epoll;

use super::row::GRACE;
use crate::forwarder::{self, Forwarder, Kind, Tables};
use crate::links::{LOAD_CORE, Links, cpu_of, epoll_of, pin, wait};
use crate::load::{self, Sample};
use crate::options::Settings;
use crate::report::{RowFigures, Section, Table, count, micros, ratio};
use crate::traffic::{Fill, frame};
use crate::watchdog;

const KINDS: [Kind; 5] = [
    Kind::Relay,
    Kind::Epoll,
    Kind::Uring,
    Kind::UringBatch,
    Kind::TokioUring,
];
const RATE: f64 = 60_000.0;
const SIZE: usize = 64;
/// Number of prepared frames.
const FRAMES: usize = 1 << 14;
/// Time within which the last frames must arrive.
const LAST_FRAMES: Duration = Duration::from_secs(5);

pub(super) fn sparse(settings: &Settings) -> Result<Section> {
    let peers = settings.many_peers;
    let tables = Tables::new(peers, settings.routes, Fill::Replayed);
    let time = Duration::from_secs_f64(2.0 * settings.seconds);
    let mut samples = KINDS.map(|_| Vec::new());
    for _ in 0..settings.rounds {
        for (kind, samples) in KINDS.iter().zip(&mut samples) {
            samples.push(measure(*kind, &tables, settings, time)?);
        }
    }
    let mut table = Table::new(&["", "frames/s", "CPU us/frame", "of the epoll engine's"]);
    for (kind, row) in KINDS.iter().zip(&samples) {
        let (row, epoll) = (RowFigures(row), RowFigures(&samples[1]));
        table.row([
            kind.to_string(),
            row.rate().show(count),
            row.cpu().show(micros),
            row.ratio(&epoll).show(ratio),
        ]);
    }
    Ok(Section {
        title: "Sparse traffic",
        text: format!(
            "{peers} connections in and as many out; {RATE} frames of {SIZE} bytes per second, \
             evenly spaced, each written by itself to a random connection. The relay sends them on \
             to the same peer, the others to a random one. `--batch-wait` is 100. No frame was \
             lost.\n\n{}",
            table.text()
        ),
        ..Section::default()
    })
}

fn measure(kind: Kind, tables: &Tables, settings: &Settings, time: Duration) -> Result<Sample> {
    let what = format!("{kind}, sparse traffic");
    let _watch = watchdog::watch(time + GRACE, &what);
    let links = Links::new(settings.many_peers);
    let router = forwarder::start(kind, links.router, tables)?;
    let (router, routes) = (&*router, settings.flows(settings.routes));
    // One thread for both ends, which never sleeps, so that neither end waits for the other.
    let load = || {
        pin(LOAD_CORE);
        exchange(router, &links.inputs, &links.outputs, routes, time)
    };
    std::thread::scope(|scope| scope.spawn(load).join().expect("load")).context(what)
}

fn exchange(
    router: &dyn Forwarder,
    inputs: &[TcpStream],
    outputs: &[TcpStream],
    routes: usize,
    time: Duration,
) -> Result<Sample> {
    let epoll = epoll_of(outputs, epoll::EventFlags::IN);
    let mut random = Random::new(9);
    let frames: Vec<_> = (0..FRAMES)
        .map(|_| frame(0, random.number() as usize % routes, SIZE, Fill::Replayed))
        .collect();
    let frame_len = frames[0].len() as u64;
    let warm_up = time / 4;
    let mut pacer = Pacer::catching_up(RATE);
    let (mut sent, mut got, mut before) = (0u64, 0u64, None);
    let (mut events, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let start = Instant::now();
    let mut sample = None;
    loop {
        let now = start.elapsed();
        if before.is_none() && now >= warm_up {
            before = Some((now, got, cpu_of(router.threads())));
        }
        if let Some((since, count, cpu)) = before
            && sample.is_none()
            && now >= warm_up + time
        {
            let arrived = (got - count) as f64 / frame_len as f64;
            let cpu = cpu_of(router.threads()) - cpu;
            sample = Some((
                arrived / (now - since).as_secs_f64(),
                cpu.as_secs_f64() / arrived,
            ));
        }
        if sample.is_none() {
            if pacer.due(now) > 0 {
                let mut input = &inputs[random.number() as usize % inputs.len()];
                let frame = &frames[sent as usize % FRAMES];
                input.write_all(frame).context("cannot write")?;
                pacer.sent(1);
                sent += 1;
            }
        } else if got == sent * frame_len {
            break;
        }
        ensure!(
            now < warm_up + time + LAST_FRAMES,
            "of {sent} frames, {} came out",
            got / frame_len
        );
        wait(&epoll, &mut events, Duration::ZERO);
        for event in &events {
            match (&outputs[event.data.u64() as usize]).read(&mut buffer) {
                Ok(0) => bail!("the router has closed a connection"),
                Ok(n) => got += n as u64,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    load::await_balance(router, sent)?;
    let (rate, cpu) = sample.unwrap_or_default();
    Ok(Sample {
        rate,
        cpu,
        sent,
        lost: 0,
        reasons: String::new(),
    })
}
