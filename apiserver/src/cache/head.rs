//! How watchers learn that their ring has grown: once a thread, not once a watcher.
//!
//! Waking a task of another thread costs a system call and mostly a wake-up of that thread, each time: a hundred watchers
//! on two workers were woken one by one, and each worker went back to sleep in between. So each worker of the REST door
//! has a relay, which is woken from outside and then wakes the worker's watchers from within.
//!
//! It wakes them in groups. Whoever reads what is written to a group may wait for this very processor, and with hundreds of
//! watchers it would wait until all are written to; between two groups it has its turn, and so have the worker's requests.
//!
//! With few processors it matters, too, who is woken first: others that are woken with the workers take the processor on
//! which the second of them would have begun. So whoever has made a change that was alone wakes the workers alone, and the
//! first of them that is through with its watchers wakes the others.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    courtesy,
    storage::{Lane, PerThread},
};

/// Watchers that are written to before others have their turn.
const GROUP: usize = 8;

pub(super) struct Heads {
    /// The sequence number that the next event will get, as the relays follow it.
    ahead: watch::Sender<u64>,
    /// The same for all others.
    head: watch::Sender<u64>,
    relays: PerThread<Relay>,
}

/// What the watchers of one thread follow.
#[derive(Clone)]
enum Relay {
    /// Those of threads that have no relay follow the head itself.
    None(watch::Sender<u64>),
    Task {
        groups: Arc<Groups>,
        task: AbortHandle,
    },
}

impl Lane for Relay {
    fn has_ended(&self) -> bool {
        matches!(self, Relay::Task { task, .. } if task.is_finished())
    }
}

impl Default for Heads {
    fn default() -> Heads {
        let (ahead, head) = (watch::Sender::new(0), watch::Sender::new(0));
        let (source, others) = (ahead.clone(), head.clone());
        let common = Relay::None(head.clone());
        let relays = PerThread::beside(common, move || Relay::start(source.subscribe(), others.clone()));
        Heads { ahead, head, relays }
    }
}

impl Heads {
    /// All learn of it now.
    pub fn publish(&self, head: u64) {
        // The first who is woken gets the processor that is idle, and the workers have most to do.
        self.ahead.send_replace(head);
        self.settle();
    }

    /// The workers learn of it now, the others when one of the workers is through, and with [`settle`](Self::settle) at
    /// the latest.
    pub fn publish_to_workers(&self, head: u64) {
        self.ahead.send_replace(head);
        if self.ahead.receiver_count() == 0 {
            self.settle();
        }
    }

    /// Whoever has not learned of everything does so now.
    pub fn settle(&self) {
        let reached = *self.ahead.borrow();
        raise(&self.head, reached);
    }

    /// Changes after each later change is published, or once after several. Its value may be behind for a moment.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        match self.relays.get() {
            Relay::None(head) => head.subscribe(),
            Relay::Task { groups, .. } => groups.subscribe(),
        }
    }
}

/// Wakes whoever follows, if that is news.
fn raise(head: &watch::Sender<u64>, reached: u64) {
    head.send_if_modified(|head| {
        let is_news = *head < reached;
        *head = reached.max(*head);
        is_news
    });
}

impl Relay {
    fn start(mut source: watch::Receiver<u64>, others: watch::Sender<u64>) -> Relay {
        let groups = Arc::new(Groups { source: source.clone(), each: Mutex::default() });
        let followed = groups.clone();
        let task = tokio::spawn(async move {
            while source.changed().await.is_ok() {
                let reached = *source.borrow_and_update();
                for (index, group) in followed.present().into_iter().enumerate() {
                    if index > 0 {
                        // The group before runs first, and then whoever it has woken.
                        tokio::task::yield_now().await;
                        courtesy::give_way(Duration::ZERO);
                    }
                    group.send_replace(reached);
                }
                // The last group's turn, too, comes before the others'.
                tokio::task::yield_now().await;
                raise(&others, reached);
            }
        });
        Relay::Task { groups, task: task.abort_handle() }
    }
}

/// The watchers of one thread, some at a time.
struct Groups {
    source: watch::Receiver<u64>,
    each: Mutex<Vec<watch::Sender<u64>>>,
}

impl Groups {
    fn subscribe(&self) -> watch::Receiver<u64> {
        let mut each = self.each.lock();
        if let Some(group) = each.iter().find(|group| group.receiver_count() < GROUP) {
            return group.subscribe();
        }
        let group = watch::Sender::new(*self.source.borrow());
        let first = group.subscribe();
        each.push(group);
        first
    }

    /// All that have somebody in them.
    fn present(&self) -> Vec<watch::Sender<u64>> {
        let mut each = self.each.lock();
        each.retain(|group| group.receiver_count() > 0);
        each.clone()
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

    #[tokio::test]
    async fn many_watchers_are_woken_group_by_group_and_who_leaves_makes_room() {
        let heads = Heads::default();
        let mut watchers: Vec<_> = (0..2 * GROUP + 1).map(|_| heads.subscribe()).collect();
        heads.publish(1);
        let mut told = vec![0];
        while told.last() != Some(&watchers.len()) {
            tokio::task::yield_now().await;
            told.push(watchers.iter().filter(|watcher| watcher.has_changed().expect("a relay")).count());
            told.dedup();
        }
        assert_eq!(told, [0, GROUP, 2 * GROUP, 2 * GROUP + 1]);
        watchers.truncate(GROUP);
        watchers.push(heads.subscribe());
        heads.publish(2);
        for watcher in &mut watchers {
            watcher.wait_for(|head| *head == 2).await.expect("a relay");
        }
    }

    #[tokio::test]
    async fn others_learn_when_a_worker_is_through_and_without_workers_at_once() {
        let heads = Heads::default();
        let mut other = heads.head.subscribe();
        heads.publish_to_workers(1);
        assert_eq!(*other.borrow_and_update(), 1, "nobody else would tell");

        let watchers: Vec<_> = (0..2 * GROUP).map(|_| heads.subscribe()).collect();
        heads.publish_to_workers(2);
        while !other.has_changed().expect("a head") {
            tokio::task::yield_now().await;
        }
        assert!(watchers.iter().all(|watcher| watcher.has_changed().expect("a relay")));
        assert_eq!(*other.borrow_and_update(), 2);

        heads.publish_to_workers(3);
        assert!(!other.has_changed().expect("a head"), "no worker has run");
        heads.settle();
        assert_eq!(*other.borrow_and_update(), 3);
        heads.publish(4);
        assert_eq!(*other.borrow_and_update(), 4);
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
