//! A filter for `tracing` subscribers that keeps peers and strangers from filling the log.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// The number of lines of one kind that may follow each other without a pause.
const BURST: u32 = 50;
/// The interval at which lines of a kind are admitted after that.
const GAP: Duration = Duration::from_secs(1);
/// The longest time from a suppressed line to the line that reports it.
const REPORT_AFTER: Duration = Duration::from_secs(10);
/// The number of characters of a kind's name that are shown.
const NAME_LEN: usize = 100;

/// A filter that limits how often lines of one kind are logged.
///
/// Peers and strangers cause some of the lines that a node logs, and could fill a disk with them. A
/// kind is a place in the code that logs. 50 lines of a kind are admitted at once, and after that one
/// a second. A line with the target [`LogLimit::TARGET`] reports how many were suppressed, at most 10 s
/// after the first of them.
///
/// It is a filter for layers of the process's global subscriber, alone or [with][and] another filter:
///
/// ```
/// use tracing_subscriber::filter::{EnvFilter, FilterExt};
/// use tracing_subscriber::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let level = EnvFilter::new("info");
/// let limit = pinecone::LogLimit::start()?;
/// let lines = tracing_subscriber::fmt::layer().with_filter(level.and(limit));
/// tracing_subscriber::registry().with(lines).init();
/// # Ok(())
/// # }
/// ```
///
/// [and]: tracing_subscriber::filter::FilterExt::and
#[derive(Clone, Debug)]
pub struct LogLimit {
    kinds: Arc<Mutex<Kinds>>,
    /// Wakes the thread that reports. The thread ends when the last clone is dropped.
    wake: SyncSender<()>,
}

impl LogLimit {
    /// The target of the lines that report suppressed ones. They are never limited.
    pub const TARGET: &'static str = "pinecone::log_limit";

    /// Creates a filter, and starts the thread that reports suppressed lines.
    ///
    /// # Errors
    /// The system's error, if the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        let (limit, woken) = Self::new();
        let kinds = Arc::clone(&limit.kinds);
        std::thread::Builder::new()
            .name("pinecone-log-limit".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    std::thread::sleep(REPORT_AFTER);
                    report(&kinds);
                }
            })?;
        Ok(limit)
    }

    /// Reports suppressed lines now, instead of later. This is for the end of a process.
    pub fn report(&self) {
        report(&self.kinds);
    }

    /// Returns the number of lines suppressed so far.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        lock(&self.kinds).left_out
    }

    fn new() -> (Self, Receiver<()>) {
        let (wake, woken) = sync_channel(1);
        let kinds = Arc::default();
        (Self { kinds, wake }, woken)
    }

    fn admit(&self, event: &Event<'_>, now: Instant) -> bool {
        let id = event.metadata().callsite();
        if !lock(&self.kinds).known.contains_key(&id) {
            // This formats the message, which must not happen under the lock.
            let kind = Kind::of(event);
            lock(&self.kinds).add(id.clone(), kind);
        }
        let mut kinds = lock(&self.kinds);
        let admitted = kinds.admit(&id, now);
        drop(kinds);
        if !admitted {
            // Fails if the thread has been woken already.
            let _ = self.wake.try_send(());
        }
        admitted
    }
}

impl<S: Subscriber> Filter<S> for LogLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        // With `always`, tracing-subscriber does not call `enabled`, and would apply the result of
        // `event_enabled` for one event to the next one.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Without a hint, the hint of a filter that this one is combined with would be ignored.
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        event.metadata().target() == Self::TARGET || self.admit(event, Instant::now())
    }
}

/// The kinds that have been logged. Their number is bounded by that of the places in the code.
#[derive(Debug, Default)]
struct Kinds {
    known: HashMap<Identifier, usize>,
    list: Vec<Kind>,
    left_out: u64,
}

impl Kinds {
    fn add(&mut self, id: Identifier, kind: Kind) {
        if let Entry::Vacant(entry) = self.known.entry(id) {
            entry.insert(self.list.len());
            self.list.push(kind);
        }
    }

    fn admit(&mut self, id: &Identifier, now: Instant) -> bool {
        let index = self.known.get(id);
        let Some(kind) = index.and_then(|index| self.list.get_mut(*index)) else {
            return true;
        };
        let admitted = kind.budget.take(now);
        if !admitted {
            kind.left_out += 1;
            self.left_out += 1;
        }
        admitted
    }

    /// Returns the kinds of which lines were suppressed since the last call, with their numbers.
    fn take(&mut self) -> Vec<(String, u64)> {
        let left_out = self.list.iter_mut().filter(|kind| kind.left_out > 0);
        left_out
            .map(|kind| (kind.name.clone(), std::mem::take(&mut kind.left_out)))
            .collect()
    }
}

/// A place in the code that logs.
#[derive(Debug)]
struct Kind {
    name: String,
    budget: Budget,
    /// The number of suppressed lines that have not been reported.
    left_out: u64,
}

impl Kind {
    fn of(event: &Event<'_>) -> Self {
        let mut message = Message(String::new());
        event.record(&mut message);
        let name = match message.0 {
            none if none.is_empty() => event.metadata().name().to_owned(),
            message => message.chars().take(NAME_LEN).collect(),
        };
        Self {
            name,
            budget: Budget::default(),
            left_out: 0,
        }
    }
}

/// The lines that may be logged: `BURST`, less those logged already, of which one is forgotten every
/// `GAP`.
#[derive(Debug, Default)]
struct Budget {
    /// The time at which all lines so far are forgotten.
    restored: Option<Instant>,
}

impl Budget {
    fn take(&mut self, now: Instant) -> bool {
        let restored = self.restored.map_or(now, |restored| restored.max(now));
        if restored.duration_since(now) > GAP * (BURST - 1) {
            return false;
        }
        self.restored = Some(restored + GAP);
        true
    }
}

/// The message of an event.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

fn report(kinds: &Mutex<Kinds>) {
    // The lock must be free while something is logged.
    let left_out = lock(kinds).take();
    for (name, count) in left_out {
        tracing::warn!(target: LogLimit::TARGET, "{count} more lines like \"{name}\" left out");
    }
}

fn lock(kinds: &Mutex<Kinds>) -> MutexGuard<'_, Kinds> {
    kinds.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::prelude::*;

    use super::*;

    fn taken(budget: &mut Budget, now: Instant, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(budget.take(now))).sum()
    }

    #[test]
    fn a_flood_gets_a_burst_and_then_a_line_a_second() {
        let mut budget = Budget::default();
        let start = Instant::now();
        assert_eq!(taken(&mut budget, start, 1000), BURST);
        assert_eq!(taken(&mut budget, start + GAP / 2, 1000), 0);
        for n in 1..100 {
            assert_eq!(
                taken(&mut budget, start + GAP * n, 1000),
                1,
                "after {n} gaps"
            );
        }
    }

    #[test]
    fn idle_time_restores_a_burst_and_no_more() {
        let start = Instant::now();
        for idle in [49, 50, 51, 3600, 86400 * 365 * 50] {
            let mut budget = Budget::default();
            assert_eq!(taken(&mut budget, start, 60), BURST);
            let now = start + GAP * idle;
            assert_eq!(taken(&mut budget, now, 1000), BURST.min(idle), "{idle}");
            assert_eq!(taken(&mut budget, now + GAP * 10, 1000), 10, "{idle}");
        }
    }

    #[test]
    fn less_than_a_line_a_second_is_never_left_out() {
        let mut budget = Budget::default();
        let start = Instant::now();
        for n in 0..10_000 {
            assert!(budget.take(start + GAP * n));
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn with(&self, text: &str) -> usize {
            let lines = self.0.lock().unwrap();
            let lines = String::from_utf8(lines.clone()).unwrap();
            lines.lines().filter(|line| line.contains(text)).count()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn each_kind_has_a_limit_of_its_own_and_is_reported() {
        let lines = Lines::default();
        let (limit, woken) = LogLimit::new();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(lines.clone())
            .with_filter(limit.clone());
        let _guard = tracing_subscriber::registry().with(layer).set_default();
        tracing::info!("quiet one");
        assert!(woken.try_recv().is_err());
        for n in 0..1000 {
            tracing::info!(n, "loud one");
        }
        assert!(woken.try_recv().is_ok());
        tracing::info!("quiet two");
        assert_eq!(lines.with("quiet"), 2);
        let loud = lines.with("loud");
        // More if the test takes seconds.
        assert!((BURST as usize..1000).contains(&loud), "{loud}");
        let left_out = 1000 - loud;
        assert_eq!(limit.left_out(), left_out as u64);

        limit.report();
        let said = format!("{left_out} more lines like \"loud one\" left out");
        assert_eq!(lines.with(&said), 1);
        // Only what is new.
        limit.report();
        assert_eq!(lines.with("left out"), 1);
        assert_eq!(limit.left_out(), left_out as u64);
    }
}
