//! The engines, through which workers use the kernel.
//!
//! An engine owns the sockets, and the memory that frames lie in. [`Engine`] is the contract that both of them
//! implement: [`Uring`] completes requests, and [`Epoll`] polls for readiness where io_uring is not available. A worker
//! never calls an engine directly. It uses a [`Driver`], whose guards enforce the order of calls that the contract
//! demands.

mod contract;
mod driver;
mod epoll;
mod memory;
mod outgoing;
mod poller;
mod socket;
mod uring;

pub(crate) use self::contract::{Engine, EngineKind, Event, MAX_PIECES, SendMode, Sent};
pub(crate) use self::driver::{Driver, Ending, Handling, Outbox, Sending, Sockets};
pub(crate) use self::epoll::Epoll;
pub(crate) use self::outgoing::Outgoing;
pub(crate) use self::poller::SharedPoller;
pub(crate) use self::socket::Readiness;
pub(crate) use self::uring::Uring;
