//! How watchers learn that their ring has grown: once a thread, not once a watcher.
//!
//! Waking a task of another thread costs a system call and mostly a wake-up of that thread, each time: a hundred watchers
//! on two workers were woken one by one, and each worker went back to sleep in between. So each worker of the REST door
//! has a relay, which is woken from outside and then wakes the worker's watchers from within.

use std::sync::Arc;

use tokio::{sync::watch, task::AbortHandle};

use crate::storage::{Lane, PerThread};

pub(super) struct Heads {
    /// The sequence number that the next event will get, as the relays follow it.
    ahead: watch::Sender<u64>,
    /// The same for all others.
    head: watch::Sender<u64>,
    relays: PerThread<Relay>,
}

/// What the watchers of one thread follow.
#[derive(Clone)]
struct Relay {
    head: Arc<watch::Sender<u64>>,
    /// None: the common one, which is never behind.
    task: Option<AbortHandle>,
}

impl Lane for Relay {
    fn has_ended(&self) -> bool {
        self.task.as_ref().is_some_and(AbortHandle::is_finished)
    }
}

impl Default for Heads {
    fn default() -> Heads {
        let (ahead, head) = (watch::Sender::new(0), watch::Sender::new(0));
        let source = ahead.clone();
        let common = Relay { head: Arc::new(head.clone()), task: None };
        Heads { ahead, head, relays: PerThread::beside(common, move || Relay::start(source.subscribe())) }
    }
}

impl Heads {
    pub fn publish(&self, head: u64) {
        // The first who is woken gets the processor that is idle, and the workers have most to do.
        self.ahead.send_replace(head);
        self.head.send_replace(head);
    }

    /// Changes after each later [`publish`](Self::publish), or once after several. Its value may be behind for a moment.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.relays.get().head.subscribe()
    }
}

impl Relay {
    fn start(mut source: watch::Receiver<u64>) -> Relay {
        let head = Arc::new(watch::Sender::new(*source.borrow()));
        let follower = head.clone();
        let task = tokio::spawn(async move {
            while source.changed().await.is_ok() {
                let reached = *source.borrow_and_update();
                follower.send_replace(reached);
            }
        });
        Relay { head, task: Some(task.abort_handle()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_of_a_worker_learn_of_every_change_and_a_new_runtime_has_a_new_relay() {
        let heads = Arc::new(Heads::default());
        for round in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let (mut first, mut second) = (heads.subscribe(), heads.subscribe());
                for step in 1..=100 {
                    let (publisher, reached) = (heads.clone(), round * 100 + step);
                    let published = std::thread::spawn(move || publisher.publish(reached));
                    first.wait_for(|head| *head >= reached).await.expect("a relay");
                    second.wait_for(|head| *head >= reached).await.expect("a relay");
                    published.join().expect("a thread");
                }
            });
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn other_threads_follow_the_head_itself() {
        let heads = Heads::default();
        let mut watcher = heads.subscribe();
        heads.publish(1);
        assert!(watcher.has_changed().expect("a head"));
        assert_eq!(*watcher.borrow_and_update(), 1);
    }
}
