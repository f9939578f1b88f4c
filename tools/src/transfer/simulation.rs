//! Both ends over a channel that loses, delays, reorders and repeats, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use pinecone_testing::Random;
use proptest::prelude::*;

use super::*;

/// The effect of the channel on each payload.
#[derive(Clone, Debug)]
struct Channel {
    seed: u64,
    loss_percent: u64,
    repeat_percent: u64,
    delay_us: u64,
    jitter_us: u64,
    /// The interval at which the reader takes a piece. With 0, it takes all at once.
    read_interval_us: u64,
}

/// A payload in flight: its time of arrival, a tie-break, whether it is for the receiver, and its bytes.
type Flying = (Duration, u64, bool, Vec<u8>);

#[derive(Debug)]
struct Outcome {
    received: Vec<u8>,
    sender: State,
    receiver: Option<State>,
    took: Duration,
    repeats: u64,
    most_in_channel: usize,
}

fn run(channel: &Channel, data: &[u8], piece: usize) -> Outcome {
    let mut random = Random::new(channel.seed);
    let mut below = move |limit: u64| random.number() % limit.max(1);
    let mut now = Duration::ZERO;
    let mut sender = Sender::new(now, 7, piece);
    let mut receiver: Option<Receiver> = None;
    let mut received = Vec::new();
    let mut pieces = data.chunks(piece).peekable();
    let mut ended = false;
    let mut flying: BinaryHeap<Reverse<Flying>> = BinaryHeap::new();
    let (mut counter, mut most_in_channel) = (0, 0);
    let mut next_read = Duration::ZERO;
    let read_interval = Duration::from_micros(channel.read_interval_us);

    loop {
        while sender.wants_data() && !ended {
            let bytes = pieces.next().unwrap_or_default().to_vec();
            ended = pieces.peek().is_none();
            sender.push(bytes, ended);
        }
        if let Some(receiver) = &mut receiver {
            while now >= next_read
                && let Some(bytes) = receiver.read()
            {
                received.extend(bytes);
                if !read_interval.is_zero() {
                    next_read = now + read_interval;
                }
            }
        }
        let mut out: Vec<_> = std::iter::from_fn(|| sender.poll(now))
            .map(|p| (true, p))
            .collect();
        if let Some(receiver) = &mut receiver {
            out.extend(std::iter::from_fn(|| receiver.poll(now)).map(|p| (false, p)));
        }
        for (forward, payload) in out {
            let copies = 1 + u64::from(below(100) < channel.repeat_percent);
            for _ in 0..copies {
                let delay = channel.delay_us + below(channel.jitter_us + 1);
                if below(100) >= channel.loss_percent {
                    counter += 1;
                    let at = now + Duration::from_micros(delay);
                    flying.push(Reverse((at, counter, forward, payload.clone())));
                }
            }
        }
        let in_channel = flying.iter().filter(|f| f.0.2).map(|f| f.0.3.len()).sum();
        most_in_channel = most_in_channel.max(in_channel);

        let reader_waits = receiver.as_ref().is_some_and(|_| now < next_read);
        let next = [
            flying.peek().map(|f| f.0.0),
            sender.deadline(),
            receiver.as_ref().and_then(Receiver::deadline),
            reader_waits.then_some(next_read),
        ]
        .into_iter()
        .flatten()
        .min();
        let Some(next) = next else { break };
        now = now.max(next);
        assert!(now < Duration::from_secs(7200), "no end in sight");
        while flying.peek().is_some_and(|f| f.0.0 <= now) {
            let Some(Reverse((_, _, forward, payload))) = flying.pop() else {
                break;
            };
            let segment = Segment::decode(&payload).expect("we sent it");
            if forward {
                receiver
                    .get_or_insert_with(|| Receiver::new(now, segment.stream))
                    .handle(now, &segment);
            } else {
                sender.handle(now, &segment);
            }
        }
    }
    if let Some(receiver) = &mut receiver {
        received.extend(std::iter::from_fn(|| receiver.read()).flatten());
    }
    Outcome {
        received,
        sender: sender.state(),
        receiver: receiver.map(|r| r.state()),
        took: now,
        repeats: sender.repeats(),
        most_in_channel,
    }
}

fn data(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn clean() -> Channel {
    Channel {
        seed: 1,
        loss_percent: 0,
        repeat_percent: 0,
        delay_us: 1000,
        jitter_us: 0,
        read_interval_us: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_byte_arrives_in_order(
        seed: u64,
        loss_percent in 0..30u64,
        repeat_percent in 0..20u64,
        delay_us in 0..60_000u64,
        jitter_us in prop_oneof![Just(0), 0..20_000u64],
        read_interval_us in prop_oneof![3 => Just(0), 1 => 0..5000u64],
        len in 0..300_000usize,
        piece in 300..16_000usize,
    ) {
        let channel = Channel {
            seed, loss_percent, repeat_percent, delay_us, jitter_us, read_interval_us,
        };
        let data = data(len);
        let outcome = run(&channel, &data, piece);
        prop_assert!(outcome.received == data, "{} of {} bytes", outcome.received.len(), len);
        prop_assert_eq!(outcome.sender, State::Done);
        prop_assert_eq!(outcome.receiver, Some(State::Done));
    }
}

#[test]
fn a_clean_channel_needs_no_repeats_and_fills_the_window() {
    let data = data(20 << 20);
    let outcome = run(&clean(), &data, 16_000);
    assert!(outcome.received == data);
    assert_eq!((outcome.sender, outcome.repeats), (State::Done, 0));
    assert!(
        (900 << 10..1100 << 10).contains(&outcome.most_in_channel),
        "{outcome:?}"
    );
    // 20 MiB, 1 MiB each 2 ms, and the start.
    assert!(outcome.took < Duration::from_millis(100), "{outcome:?}");
}

#[test]
fn a_deaf_channel_ends_after_the_silence() {
    let deaf = Channel {
        loss_percent: 100,
        ..clean()
    };
    let outcome = run(&deaf, &data(100_000), 1000);
    assert_eq!(outcome.sender, State::Failed(Failure::Silence));
    assert_eq!((outcome.receiver, outcome.took), (None, SILENCE));
}

#[test]
fn a_receiver_without_a_sender_ends_after_the_silence() {
    let start = Duration::from_secs(5);
    let mut receiver = Receiver::new(start, 7);
    assert_eq!(receiver.deadline(), Some(start + SILENCE));
    assert_eq!(receiver.poll(start + SILENCE), None);
    assert_eq!(receiver.state(), State::Failed(Failure::Silence));
}

#[test]
fn a_slow_reader_bounds_what_is_stored_and_nothing_is_lost() {
    let slow = Channel {
        read_interval_us: 2000,
        ..clean()
    };
    let data = data(2_000_000);
    let outcome = run(&slow, &data, 1000);
    assert!(outcome.received == data);
    assert_eq!((outcome.sender, outcome.repeats), (State::Done, 0));
    assert!(outcome.took > Duration::from_micros(1900 * 2000));
}

#[test]
fn a_busy_receiver_is_reported() {
    let mut sender = Sender::new(Duration::ZERO, 7, 100);
    sender.push(vec![1], true);
    assert!(sender.poll(Duration::ZERO).is_some());
    let other = Segment {
        stream: 8,
        kind: Kind::Busy,
    };
    sender.handle(Duration::ZERO, &other);
    assert_eq!(sender.state(), State::Open);
    sender.handle(Duration::ZERO, &Segment { stream: 7, ..other });
    assert_eq!(sender.state(), State::Failed(Failure::Busy));
}

#[test]
fn made_up_acknowledgements_change_nothing() {
    let mut sender = Sender::new(Duration::ZERO, 7, 100);
    sender.push(vec![1; 100], false);
    sender.push(vec![2; 100], true);
    while sender.poll(Duration::ZERO).is_some() {}
    let mut acknowledge = |next, bitmap: &[u8]| {
        let ack = segment::Ack {
            next,
            window: 5,
            latest: (u64::MAX, u64::MAX),
            bitmap,
        };
        let kind = Kind::Ack(ack);
        sender.handle(Duration::ZERO, &Segment { stream: 7, kind });
        sender.state()
    };
    assert_eq!(acknowledge(3, &[]), State::Open);
    assert_eq!(acknowledge(u64::MAX, &[0xff; 128]), State::Open);
    assert_eq!(acknowledge(1, &[0xfe; 128]), State::Open);
    assert_eq!(acknowledge(2, &[0xff; 128]), State::Done);
}
