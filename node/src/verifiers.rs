//! Threads that check signatures for the control thread.

use std::collections::VecDeque;
use std::io;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded, never};
use pinecone_controlplane::{Unverified, Verified};

/// Approximate number of signatures in a batch: they take about a millisecond.
const BATCH: usize = 32;
/// Batches under way for each thread: enough to keep it busy, and few, so that later frames need not wait long.
const DEPTH: usize = 3;

/// The threads, and the batches that are under way. They end when this is dropped or [ended](Self::end).
pub(crate) struct Verifiers {
    threads: Vec<JoinHandle<()>>,
    jobs: Option<Sender<Batch<Unverified>>>,
    results: Receiver<Batch<Verified>>,
    limit: usize,
    /// Frames that are collected and not handed out yet, and the number of their signatures.
    open: Vec<Unverified>,
    open_cost: usize,
    /// Batches in the order in which they were handed out. None: not checked yet.
    under_way: VecDeque<Option<Vec<Verified>>>,
    /// The number of the first of these batches.
    first: u64,
}

/// Frames that a thread takes at a time.
pub(crate) struct Batch<T> {
    number: u64,
    frames: Vec<T>,
}

impl Verifiers {
    /// Starts the threads.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let limit = threads * DEPTH;
        let (jobs, work) = bounded::<Batch<Unverified>>(limit);
        let (done, results) = bounded(limit);
        let mut started = Vec::new();
        for index in 0..threads {
            let (work, done) = (work.clone(), done.clone());
            let thread = thread::Builder::new().name(format!("pinecone-verify{index}"));
            started.push(thread.spawn(move || run(&work, &done))?);
        }
        Ok(Self {
            threads: started,
            jobs: (threads > 0).then_some(jobs),
            results: if threads > 0 { results } else { never() },
            limit,
            open: Vec::new(),
            open_cost: 0,
            under_way: VecDeque::new(),
            first: 0,
        })
    }

    /// Reports whether there are any threads.
    pub(crate) fn are_any(&self) -> bool {
        self.jobs.is_some()
    }

    /// Reports whether another frame can be taken now.
    pub(crate) fn have_room(&self) -> bool {
        self.under_way.len() < self.limit
    }

    /// Takes a frame. It is handed out with others, or at [`Self::flush`].
    pub(crate) fn push(&mut self, frame: Unverified) {
        self.open_cost += frame.cost().max(1);
        self.open.push(frame);
        if self.open_cost >= BATCH {
            self.flush();
        }
    }

    /// Hands out the frames that were taken.
    pub(crate) fn flush(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let batch = Batch {
            number: self.first + self.under_way.len() as u64,
            frames: std::mem::take(&mut self.open),
        };
        self.open_cost = 0;
        self.under_way.push_back(None);
        // The channel has room for as many batches as may be under way, and the threads live as long as this.
        if let Some(jobs) = &self.jobs
            && jobs.send(batch).is_err()
        {
            tracing::error!("the verifier threads are gone");
        }
    }

    /// Returns the channel of finished batches, which must be passed to [`Self::finished`].
    pub(crate) fn results(&self) -> Receiver<Batch<Verified>> {
        self.results.clone()
    }

    /// Takes a finished batch.
    pub(crate) fn finished(&mut self, batch: Batch<Verified>) {
        let at = batch.number.wrapping_sub(self.first) as usize;
        if let Some(slot) = self.under_way.get_mut(at) {
            *slot = Some(batch.frames);
        }
    }

    /// Returns the next frames with their verdicts, in the order in which they were [pushed](Self::push).
    pub(crate) fn next(&mut self) -> Option<Vec<Verified>> {
        while let Ok(batch) = self.results.try_recv() {
            self.finished(batch);
        }
        let frames = self.under_way.front_mut()?.take()?;
        self.under_way.pop_front();
        self.first += 1;
        Some(frames)
    }

    /// Ends the threads, once they have finished their batches.
    pub(crate) fn end(mut self) {
        self.jobs = None;
        // Drops the receiver, so that no thread waits for room in the channel.
        self.results = never();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a verifier thread panicked");
            }
        }
    }
}

fn run(work: &Receiver<Batch<Unverified>>, done: &Sender<Batch<Verified>>) {
    for batch in work {
        let frames = batch.frames.into_iter().map(Unverified::verify).collect();
        let number = batch.number;
        if done.send(Batch { number, frames }).is_err() {
            return;
        }
    }
}
