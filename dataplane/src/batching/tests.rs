use super::*;

const LIMIT: Duration = Duration::from_micros(100);

/// A worker as the decision sees it. Time is in microseconds.
struct Simulated {
    batching: Batching,
    waits: u32,
    iterations: u32,
}

impl Simulated {
    fn new() -> Self {
        Self {
            batching: Batching::new(LIMIT),
            waits: 0,
            iterations: 0,
        }
    }

    /// Frames that arrive every `gap` microseconds, whatever the worker does, from each of `ports` one
    /// after another.
    fn open_loop(&mut self, frames: u32, gap: u32, ports: u32, len: usize) {
        let mut port = 0;
        let mut left = frames;
        while left > 0 {
            let waited = self.batching.wait();
            let time = waited.map_or(gap, |wait| wait.as_micros() as u32);
            let arrivals = (time / gap).max(1).min(left);
            left -= arrivals;
            let from = port;
            port += arrivals;
            let all = (from..port).map(|n| (n % ports, len));
            self.iteration(time, all, waited);
        }
    }

    /// Flows that send again `answer` microseconds after they have been forwarded.
    fn closed_loop(&mut self, iterations: u32, flows: u32, answer: u32) {
        for _ in 0..iterations {
            let waited = self.batching.wait();
            match waited {
                // All frames have arrived, and no flow can send during the wait.
                Some(wait) => {
                    let all = (0..2 * flows).step_by(2).map(|port| (port, 200));
                    self.iteration(answer.max(wait.as_micros() as u32), all, waited);
                }
                None => {
                    let port = self.iterations * 2 % (2 * flows) + self.iterations % 2;
                    self.iteration(answer / flows, [(port, 200)].into_iter(), waited);
                }
            }
        }
    }

    fn iteration(
        &mut self,
        micros: u32,
        arrivals: impl Iterator<Item = (u32, usize)>,
        waited: Option<Duration>,
    ) {
        self.iterations += 1;
        self.waits += u32::from(waited.is_some());
        let elapsed = Duration::from_micros(micros.into());
        self.batching.iteration(elapsed, arrivals, waited.is_some());
    }
}

#[test]
fn dense_small_frames_from_many_ports_come_in_batches() {
    let mut worker = Simulated::new();
    worker.open_loop(1000, 16, 128, 177);
    assert!(worker.waits > 100, "{} waits", worker.waits);
    assert_eq!(worker.batching.pause, 0);
}

#[test]
fn sparse_frames_are_not_waited_for() {
    let mut worker = Simulated::new();
    worker.open_loop(1000, 50, 128, 177);
    assert_eq!(worker.waits, 0);
}

#[test]
fn bulk_is_not_waited_for() {
    let mut worker = Simulated::new();
    worker.open_loop(1000, 16, 128, 20_000);
    assert_eq!(worker.waits, 0);
}

#[test]
fn one_flow_and_its_answers_never_wait() {
    let mut worker = Simulated::new();
    worker.closed_loop(100_000, 1, 20);
    assert_eq!(worker.waits, 0);
}

#[test]
fn flows_that_wait_for_us_are_hardly_ever_waited_for() {
    let mut worker = Simulated::new();
    worker.closed_loop(100_000, 4, 40);
    assert!(worker.waits > 0, "this one is found out by trying");
    assert!(worker.waits < 1000, "{} waits", worker.waits);
}

#[test]
fn a_wait_in_vain_is_the_last_for_a_while() {
    let mut worker = Simulated::new();
    worker.open_loop(1000, 16, 128, 177);
    let wait = worker.batching.wait();
    assert!(wait.is_some());
    worker.iteration(100, std::iter::empty(), wait);
    for _ in 0..FIRST_PAUSE {
        assert_eq!(worker.batching.wait(), None);
        worker.iteration(16, [(worker.iterations, 177)].into_iter(), None);
    }
    assert!(worker.batching.wait().is_some());
}

#[test]
fn soon_after_silence_frames_count_again() {
    let mut worker = Simulated::new();
    worker.open_loop(1000, 16, 128, 177);
    worker.iteration(60_000_000, [(1, 177)].into_iter(), None);
    assert_eq!(worker.batching.wait(), None);
    let before = worker.waits;
    worker.open_loop(500, 16, 128, 177);
    assert!(worker.waits > before);
}

#[test]
fn zero_is_never() {
    let mut worker = Simulated::new();
    worker.batching = Batching::new(Duration::ZERO);
    worker.open_loop(1000, 16, 128, 177);
    assert_eq!(worker.waits, 0);
}
