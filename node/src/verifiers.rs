//! Threads that check signatures for the control thread.

use std::collections::VecDeque;
use std::io;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, bounded, never};
use pinecone_controlplane::{Unverified, Verified};

/// Signatures in a batch, more or less: a millisecond's work.
const BATCH: usize = 32;
/// Batches under way for each thread, so that none is idle and little is ahead of who comes late.
const DEPTH: usize = 3;

/// The threads, and what is under way with them. They end when this is dropped or
/// [ended](Self::end).
pub(crate) struct Verifiers {
    threads: Vec<JoinHandle<()>>,
    jobs: Option<Sender<Batch<Unverified>>>,
    results: Receiver<Batch<Verified>>,
    limit: usize,
    /// Collected and not handed out yet, and its signatures.
    open: Vec<Unverified>,
    open_cost: usize,
    /// Batches in the order in which they were handed out; none: not checked yet.
    under_way: VecDeque<Option<Vec<Verified>>>,
    /// The number of the first of them.
    first: u64,
}

/// What a thread takes at a time.
pub(crate) struct Batch<T> {
    number: u64,
    frames: Vec<T>,
}

impl Verifiers {
    /// Starts so many threads.
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

    /// Whether there are any threads.
    pub(crate) fn are_any(&self) -> bool {
        self.jobs.is_some()
    }

    /// Whether another frame can be taken now.
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

    /// Hands out what was taken.
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
        // There is room for as many as may be under way, and the threads live as long as this.
        if let Some(jobs) = &self.jobs
            && jobs.send(batch).is_err()
        {
            tracing::error!("the verifier threads are gone");
        }
    }

    /// Where finished batches come from, for [`Self::finished`].
    pub(crate) fn results(&self) -> Receiver<Batch<Verified>> {
        self.results.clone()
    }

    /// A batch is finished.
    pub(crate) fn finished(&mut self, batch: Batch<Verified>) {
        let at = batch.number.wrapping_sub(self.first) as usize;
        if let Some(slot) = self.under_way.get_mut(at) {
            *slot = Some(batch.frames);
        }
    }

    /// The next frames with their verdicts, in the order in which they were [pushed](Self::push).
    pub(crate) fn next(&mut self) -> Option<Vec<Verified>> {
        while let Ok(batch) = self.results.try_recv() {
            self.finished(batch);
        }
        let frames = self.under_way.front_mut()?.take()?;
        self.under_way.pop_front();
        self.first += 1;
        Some(frames)
    }

    /// Ends the threads, once they have finished what they have in hand.
    pub(crate) fn end(mut self) {
        self.jobs = None;
        // Nobody waits for a place in it any more.
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
