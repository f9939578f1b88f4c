use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// A time limit that is only reached on a failure.
const DEADLINE: Duration = Duration::from_secs(60);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { timeout(DEADLINE, test).await.unwrap() });
}

/// Starts a task that never ends. Returns the name of its thread, and a receiver that notices when it is dropped.
async fn start(relays: &Relays) -> (String, oneshot::Receiver<()>, RelayTask) {
    let (held, dropped) = oneshot::channel::<()>();
    let started = relays.run(async move |reply| {
        // The future is not `Send`.
        let held = Rc::new(held);
        let name = thread::current().name().map(ToOwned::to_owned);
        let _ = reply.send(name);
        pending::<()>().await;
        drop(held);
    });
    let (reply, task) = started.unwrap();
    (reply.await.unwrap().unwrap(), dropped, task)
}

fn is_held(dropped: &mut oneshot::Receiver<()>) -> bool {
    dropped.try_recv() == Err(oneshot::error::TryRecvError::Empty)
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn threads_start_when_needed_and_the_one_with_the_fewest_streams_is_next() {
    run(async {
        let pool = RelayPool::new(3);
        assert!(pool.lock().slots.iter().all(|slot| slot.thread.is_none()));
        let relays = Relays::new(pool.clone());
        let mut tasks = Vec::new();
        for name in ["relay-0", "relay-1", "relay-2", "relay-0"] {
            let task = start(&relays).await;
            assert_eq!(task.0, name);
            tasks.push(task);
        }
        assert_eq!(pool.loads(), [2, 1, 1]);
        drop(tasks.remove(1).2);
        until(|| pool.loads() == [2, 0, 1]).await;
        assert_eq!(start(&relays).await.0, "relay-1");
        pool.join();
    });
}

#[test]
fn a_task_ends_when_its_handle_is_dropped_unless_it_is_detached() {
    run(async {
        let pool = RelayPool::default();
        let relays = Relays::new(pool.clone());
        let (_, dropped, task) = start(&relays).await;
        let (_, mut kept, detached) = start(&relays).await;
        detached.detach();
        drop(task);
        dropped.await.unwrap_err();
        // The thread has been through its queue since.
        start(&relays).await;
        assert!(is_held(&mut kept));
        pool.join();
    });
}

#[test]
fn a_task_that_waits_before_its_reply_ends_with_its_handle() {
    run(async {
        let pool = RelayPool::default();
        let relays = Relays::new(pool.clone());
        let started = relays.run(async |reply: oneshot::Sender<()>| {
            pending::<()>().await;
            drop(reply);
        });
        let (reply, task) = started.unwrap();
        drop(task);
        reply.await.unwrap_err();
        until(|| pool.loads() == [0]).await;
        pool.join();
    });
}

#[test]
fn a_panic_ends_one_task_only() {
    run(async {
        let pool = RelayPool::default();
        let relays = Relays::new(pool.clone());
        let (_, mut kept, _task) = start(&relays).await;
        let failed = relays.run(async |_: oneshot::Sender<()>| panic!("on purpose"));
        let (reply, _failed) = failed.unwrap();
        reply.await.unwrap_err();
        // So does one in the constructor of the future.
        let failed =
            relays.run(|_: oneshot::Sender<()>| -> std::future::Ready<()> { panic!("on purpose") });
        let (reply, _failed) = failed.unwrap();
        reply.await.unwrap_err();
        until(|| pool.loads() == [1]).await;
        assert!(is_held(&mut kept));
        pool.join();
    });
}

#[test]
fn the_relays_of_one_node_end_together_and_those_of_others_stay() {
    run(async {
        let pool = RelayPool::default();
        let (ours, theirs) = (Relays::new(pool.clone()), Relays::new(pool.clone()));
        let (_, dropped, task) = start(&ours).await;
        let (_, mut kept, _task) = start(&theirs).await;
        task.detach();
        ours.end().await;
        // It has ended already.
        timeout(Duration::ZERO, dropped).await.unwrap().unwrap_err();
        // Those that come too late end at once.
        let late = ours.run(async |reply| reply.send(()).unwrap());
        let (reply, _task) = late.unwrap();
        reply.await.unwrap_err();
        until(|| pool.loads() == [1]).await;
        assert!(is_held(&mut kept));
        // Without handles to the transports, they end as well.
        drop(theirs);
        kept.await.unwrap_err();
        pool.join();
    });
}

#[test]
fn a_pool_that_is_joined_has_ended_its_tasks_and_starts_no_others() {
    run(async {
        let pool = RelayPool::new(2);
        let relays = Relays::new(pool.clone());
        let (_, dropped, _task) = start(&relays).await;
        pool.join();
        timeout(Duration::ZERO, dropped).await.unwrap().unwrap_err();
        let refused = relays.run(async |reply: oneshot::Sender<()>| reply.send(()).unwrap());
        refused.unwrap_err();
        assert_eq!(pool.loads(), [0, 0]);
    });
}
