//! A model of the publication of snapshots, in every order of the writer's and a reader's steps.

use loom::thread;
use pinecone_wire::Watermark;

use super::*;
use crate::hop::NextHop;

const KEY: PublicKey = PublicKey([7; 32]);

/// Looks up the key. The port of its route is the number of the snapshot.
fn look(reader: &mut FibReader) -> u32 {
    match reader.load().snek(&KEY, &Watermark::START).next {
        NextHop::Port(PortId(port)) => port,
        next => panic!("the route is in every snapshot, not {next:?}"),
    }
}

/// A reader finds whole snapshots, and never an older one than before. The writer reuses the memory of snapshots
/// that the reader has left, and no other.
#[test]
fn readers_find_whole_snapshots_in_order() {
    const LAST: u32 = 4;
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.max_branches = 10_000;
    model.check(|| {
        let (mut writer, fib) = FibWriter::new(PublicKey::MIN);
        writer.set_route(KEY, PortId(1), 1);
        writer.publish();
        let mut reader = fib.reader();
        let reader = thread::spawn(move || {
            let mut last = 1;
            for _ in 0..3 {
                let now = look(&mut reader);
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        });
        for port in 2..=LAST {
            writer.set_route(KEY, PortId(port), port.into());
            writer.publish();
        }
        reader.join().unwrap();
        assert_eq!(look(&mut fib.reader()), LAST);
    });
}
