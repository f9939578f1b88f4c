//! Nodes that cannot go on, which report that to all callers that wait.

use pinecone_testing::{Need, skip};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use pinecone::{
    AddListenerError, ConnectError, EngineChoice, Event, Host, HostOptions, Node, NodeError,
    PacketFilter, PingError, PortId, SendError, TrafficFrame, WorkerError, pipe,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use crate::harness::{builder, event, node, removed, within};

/// Makes waiting fail on the worker thread that sees a frame.
struct ForbidWaiting;

impl PacketFilter for ForbidWaiting {
    fn pass(&self, _: &TrafficFrame<'_>) -> bool {
        let calls = [
            libc::SYS_io_uring_enter,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_pwait2,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait,
        ];
        let filter = SeccompFilter::new(
            calls
                .into_iter()
                .map(|call| (call, Vec::new()))
                .collect::<BTreeMap<_, _>>(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOMEM as u32),
            TargetArch::try_from(std::env::consts::ARCH).unwrap(),
        );
        let program: BpfProgram = filter.unwrap().try_into().unwrap();
        apply_filter(&program).unwrap();
        true
    }
}

async fn a_node_ends_with_its_worker(engine: EngineChoice, call: &'static str) {
    let (a, b) = (
        builder(1).engine(engine).start().await.unwrap(),
        node(2).await,
    );
    let (mut events, mut others) = (a.events(), b.events());
    pipe(&a, &b).await.unwrap();
    a.set_packet_filter(Some(Arc::new(ForbidWaiting)));
    a.send_to("bait", &b.public_key()).unwrap();
    let expected = NodeError::Worker(WorkerError::System {
        worker: 0,
        call,
        error: libc::ENOMEM,
    });
    let told = event("the failure", &mut events, |event| match event {
        Event::Failed { error } => Some(error.clone()),
        _ => None,
    });
    assert_eq!(told.await, expected);
    let (key, reason) = removed(&mut events).await;
    let NodeError::Worker(error) = &expected else {
        panic!("{expected}");
    };
    assert_eq!((key, reason), (b.public_key(), error.clone().into()));
    assert_eq!(within("its end", a.closed()).await, Err(expected.clone()));
    assert_eq!(removed(&mut others).await.0, a.public_key());
    // Every later call returns that the node is closed, and the reason.
    let Err(SendError::Closed(closed)) = a.send_to("late", &b.public_key()) else {
        panic!("the payload is sent");
    };
    assert_eq!(closed.cause(), Some(&expected));
    assert_eq!(a.status().await.unwrap_err(), closed);
    assert_eq!(a.peers().await.unwrap_err(), closed);
    assert_eq!(a.static_peers().await.unwrap_err(), closed);
    assert_eq!(a.joined().await, Err(closed.clone()));
    assert_eq!(a.disconnect(PortId(1)).await, Err(closed.clone().into()));
    let key = b.public_key();
    assert_eq!(
        a.reachable(&key, Duration::from_secs(9)).await,
        Err(PingError::from(closed.clone()))
    );
    let connected = a.connect("127.0.0.1:1").await;
    assert!(matches!(connected, Err(ConnectError::Closed(other)) if other == closed));
    assert_eq!(
        a.add_static_peer("127.0.0.1:1").await,
        Err(closed.clone().into())
    );
    assert_eq!(
        a.remove_static_peer("127.0.0.1:1").await,
        Err(closed.clone().into())
    );
    let listens = a.listen("127.0.0.1:0").await;
    assert!(matches!(listens, Err(AddListenerError::Closed(other)) if other == closed));
    assert_eq!(a.recv().await, Err(closed.clone()));
    assert_eq!(a.try_recv(), Err(closed.into()));
    within("closing what is closed", a.close()).await;
    b.close().await;
    assert_eq!(b.closed().await, Ok(()));
}

/// A waker that panics, as that of a broken executor might.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

async fn a_panicking_waker_is_reported(a: Node, thread: &'static str) {
    let expected = NodeError::Panicked { thread };
    let (b, mut events, mut broken) = (node(2).await, a.events(), a.events());
    let waker = Waker::from(Arc::new(Panics));
    let mut next = pin!(broken.next());
    let polled = next.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    // The event of the peering calls the waker while the pipe waits for its reply.
    match within("the pipe", pipe(&a, &b)).await {
        Err(ConnectError::Closed(closed)) => assert_eq!(closed.cause(), Some(&expected)),
        other => panic!("{other:?}"),
    }
    let told = event("the failure", &mut events, |event| match event {
        Event::Failed { error } => Some(error.clone()),
        _ => None,
    });
    assert_eq!(told.await, expected);
    assert_eq!(within("its end", a.closed()).await, Err(expected));
    b.close().await;
}

#[tokio::test]
async fn a_panic_of_the_control_thread_is_reported() {
    a_panicking_waker_is_reported(node(1).await, "control").await;
}

#[tokio::test]
async fn a_panic_of_a_host_thread_is_reported() {
    let host = Host::new(HostOptions::default()).unwrap();
    a_panicking_waker_is_reported(builder(1).on(&host).start().await.unwrap(), "host").await;
}

#[tokio::test]
async fn a_node_ends_with_its_io_uring_worker() {
    let engine = Node::builder().engine(EngineChoice::Uring).start().await;
    match engine {
        Ok(probe) => probe.close().await,
        Err(reason) => return skip(Need::IoUring, reason),
    }
    a_node_ends_with_its_worker(EngineChoice::Uring, "io_uring_enter").await;
}

#[tokio::test]
async fn a_node_ends_with_its_epoll_worker() {
    a_node_ends_with_its_worker(EngineChoice::Epoll, "epoll_wait").await;
}
