//! Checks of every frame that comes out of a router: its content, order, egress and watermark.

use anyhow::{Context, Result, bail, ensure};
use pinecone_load::{Arrival, FlowAccount, FrameBuffer, HOP_LIMIT};
use pinecone_wire::{FrameError, FrameType, TrafficLayout};

use crate::traffic::{
    Feed, Fill, Spread, Stamp, Traffic, route_key, source_key, watermark_after, watermark_before,
};

/// Checks the frames from all connections out.
pub struct Checker {
    traffic: Traffic,
    peers: usize,
    /// Set if frames are routed, and not relayed unchanged.
    routed: bool,
    /// The frames that have arrived, by connection in and route.
    account: FlowAccount,
    /// The partial frame at the end of what has arrived, by connection out.
    partial: Vec<FrameBuffer>,
}

impl Checker {
    pub fn new(traffic: Traffic, peers: usize, routed: bool) -> Self {
        Self {
            traffic,
            peers,
            routed,
            account: FlowAccount::new(peers * traffic.flows),
            partial: vec![FrameBuffer::default(); peers],
        }
    }

    /// Checks bytes that arrived from a connection out.
    pub fn take(&mut self, output: usize, bytes: &[u8]) -> Result<()> {
        let mut partial = std::mem::take(&mut self.partial[output]);
        partial.extend(bytes);
        partial.take_frames(|_, frame| self.frame(output, frame))?;
        self.partial[output] = partial;
        Ok(())
    }

    /// Returns the number of correct frames.
    pub fn frames(&self) -> u64 {
        self.account.totals().received
    }

    /// Reports whether no frame is incomplete.
    pub fn is_between_frames(&self) -> bool {
        self.partial
            .iter()
            .all(|partial| partial.bytes().is_empty())
    }

    fn frame(&mut self, output: usize, frame: &[u8]) -> Result<()> {
        let layout = TrafficLayout::parse(frame).context("a frame is damaged")?;
        let payload = layout.payload(frame);
        let Some((stamp, right)) = Stamp::read(payload) else {
            bail!("a payload of {} bytes came out", payload.len());
        };
        let Stamp {
            input,
            route,
            sequence,
        } = stamp;
        let (input, route) = (input as usize, route as usize);
        let size = self.traffic.size;
        ensure!(
            payload.len() == size && input < self.peers && route < self.traffic.flows,
            "a payload was never sent: {} bytes, from {input}, flow {route}",
            payload.len()
        );
        let what = || format!("frame {sequence} of flow {route} from connection {input}");
        ensure!(right, "{}: its payload was changed", what());
        ensure!(
            frame[4..8] == [0, FrameType::Traffic.byte(), 0, HOP_LIMIT],
            "{}: header {:?}",
            what(),
            &frame[4..8]
        );
        let after = match self.routed {
            true => watermark_after(route, Fill::Checked),
            false => watermark_before(route, Fill::Checked),
        };
        ensure!(
            layout.destination_key(frame) == route_key(route)
                && layout.source_key(frame) == source_key(input),
            "{}: its keys were changed",
            what()
        );
        ensure!(
            layout.watermark(frame) == after && !layout.has_destination(),
            "{}: watermark {:?} instead of {after:?}",
            what(),
            layout.watermark(frame)
        );
        let expected = match self.routed {
            true => route % self.peers,
            false => input,
        };
        ensure!(
            output == expected,
            "{}: came out of connection {output} instead of {expected}",
            what()
        );
        let flow = input * self.traffic.flows + route;
        match self.account.record(flow, sequence) {
            Some(Arrival::InOrder) => Ok(()),
            Some(Arrival::Duplicate) => bail!("{}: came twice", what()),
            _ => bail!("{}: came after a later frame of its flow", what()),
        }
    }
}

/// Tests that a checker accepts a correct stream, and refuses every kind of mistake in it.
pub fn self_test() -> Result<()> {
    let traffic = Traffic {
        size: 64,
        flows: 3,
        spread: Spread::Bursts,
        fill: Fill::Checked,
    };
    let stream = Feed::new(traffic, 0, 1).pending(100).to_vec();
    let mut all = Vec::new();
    let mut buffer = FrameBuffer::default();
    buffer.extend(&stream);
    buffer.take_frames(|_, frame| {
        all.push(frame.to_vec());
        Ok::<_, FrameError>(())
    })?;
    let frames = || all.iter().cloned();
    let check = |routed, output, frames: Vec<Vec<u8>>| {
        let mut checker = Checker::new(traffic, 2, routed);
        // In pieces that end within frames.
        let bytes = frames.concat();
        bytes
            .chunks(97)
            .try_for_each(|piece| checker.take(output, piece))
            .map(|()| checker.frames())
    };
    ensure!(check(false, 0, frames().collect())? == 100);
    let wrong = |what: &str, result: Result<u64>| {
        ensure!(result.is_err(), "the checker does not see {what}");
        Ok(())
    };
    wrong("a wrong connection", check(false, 1, frames().collect()))?;
    wrong(
        "a watermark that was not written",
        check(true, 0, frames().collect()),
    )?;
    let mut swapped: Vec<_> = frames().collect();
    swapped.swap(10, 11);
    wrong("another order", check(false, 0, swapped))?;
    let twice = frames().flat_map(|f| [f.clone(), f]).collect();
    wrong("frames that come twice", check(false, 0, twice))?;
    let len = frames().next().map_or(0, |f| f.len());
    for at in 0..len {
        let mut damaged: Vec<_> = frames().collect();
        damaged[50][at] ^= 0x10;
        let result = check(false, 0, damaged);
        wrong(
            &format!("a change of byte {at}"),
            result.and_then(|n| {
                ensure!(n == 100, "{n} frames");
                Ok(n)
            }),
        )?;
    }
    Ok(())
}
