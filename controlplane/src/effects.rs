//! The queue of effects.

use std::collections::VecDeque;

use pinecone_fib::PortId;

use crate::{CloseReason, Effect, Event};

/// Effects that the driver has not taken yet, in order.
#[derive(Debug, Default)]
pub(crate) struct Effects(VecDeque<Effect>);

impl Effects {
    pub(crate) fn send(&mut self, port: PortId, frame: Vec<u8>) {
        self.0.push_back(Effect::Send { port, frame });
    }

    pub(crate) fn close(&mut self, port: PortId, reason: CloseReason) {
        self.0.push_back(Effect::Close { port, reason });
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.0.push_back(Effect::Event(event));
    }

    pub(crate) fn pop(&mut self) -> Option<Effect> {
        self.0.pop_front()
    }
}
