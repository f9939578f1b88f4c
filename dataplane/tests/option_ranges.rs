//! Options out of range, which are errors that name the option.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use pinecone_dataplane::{
    DataPlane, DataPlaneError, DataPlaneOptions, Delivery, EngineChoice, PortId,
};
use pinecone_fib::FibWriter;
use pinecone_wire::{PublicKey, TrafficLayout};

struct Nobody;

impl Delivery for Nobody {
    fn deliver(&self, _: PortId, _: &[u8], _: &TrafficLayout) -> bool {
        false
    }
}

fn start(change: impl FnOnce(&mut DataPlaneOptions)) -> Result<(), DataPlaneError> {
    let mut options = DataPlaneOptions {
        engine: EngineChoice::Epoll,
        max_ports: 16,
        ..DataPlaneOptions::default()
    };
    change(&mut options);
    let (_writer, fib) = FibWriter::new(PublicKey([0x55; 32]));
    DataPlane::start(options, fib, Arc::new(Nobody)).map(|_| ())
}

#[test]
fn values_out_of_range_are_errors_that_name_the_option() {
    type Change = fn(&mut DataPlaneOptions, usize);
    let cases: [(&str, &[usize], Change); 8] = [
        ("workers", &[0, 251], |o, n| o.workers = n),
        ("max_ports", &[0, 1 << 24, usize::MAX], |o, n| {
            o.max_ports = n
        }),
        ("receive_buffers", &[0, 1, 3, 65_535], |o, n| {
            o.receive_buffers = n as u16;
        }),
        ("receive_buffer_bytes", &[0, 4095, usize::MAX], |o, n| {
            o.receive_buffer_bytes = n;
        }),
        ("ring_entries", &[0, 8, 1000, 8192], |o, n| {
            o.ring_entries = n as u32;
        }),
        ("local_frames", &[0, usize::MAX], |o, n| o.local_frames = n),
        ("pending_bytes", &[0, 100, 65_535], |o, n| {
            o.pending_bytes = n
        }),
        ("port_pending_bytes", &[0, 100, 65_535], |o, n| {
            o.port_pending_bytes = n;
        }),
    ];
    for (name, values, change) in cases {
        for &number in values {
            match start(|options| change(options, number)) {
                Err(DataPlaneError::Option { option, value, .. }) => {
                    assert_eq!((option, value), (name, number));
                }
                other => panic!("{name} = {number}: {other:?}"),
            }
        }
    }
    let cores = start(|options| options.cores = vec![0, 0]).unwrap_err();
    let text = "option cores has 2 cores for 1 workers: use one core for each worker";
    assert_eq!(cores.to_string(), text);
    let buffers = start(|options| options.receive_buffers = 3).unwrap_err();
    let text = "option receive_buffers is 3: use a power of two from 2 to 32,768";
    assert_eq!(buffers.to_string(), text);
    let region = start(|options| {
        options.receive_buffers = 32_768;
        options.receive_buffer_bytes = 16 << 20;
    });
    let text = "option receive_buffer_bytes is 16777216: use at most 1 GiB for all receive_buffers of a worker together";
    assert_eq!(region.unwrap_err().to_string(), text);
}

#[test]
fn the_least_and_the_greatest_values_are_accepted() {
    start(|options| {
        options.max_ports = 1;
        options.receive_buffers = 2;
        options.receive_buffer_bytes = 4096;
        options.ring_entries = 16;
        options.local_frames = 1;
        options.pending_bytes = 65_536;
        options.port_pending_bytes = 65_536;
    })
    .unwrap();
    start(|options| {
        options.max_ports = (1 << 24) - 1;
        options.receive_buffers = 64;
        options.receive_buffer_bytes = 16 << 20;
        options.ring_entries = 4096;
        options.local_frames = 1 << 20;
    })
    .unwrap();
}
