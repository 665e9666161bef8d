//! One of something for each thread that runs a runtime of its own, and a common one for all others.
//!
//! A worker of the REST door then speaks with the store itself: a request crosses to no other thread on its way, which at
//! one client is most of what a read costs.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::{Handle, RuntimeFlavor};

/// What stands for a task that may end with its runtime.
pub trait Lane: Clone + 'static {
    /// Its task is gone.
    fn has_ended(&self) -> bool;
}

type Make<T> = Box<dyn Fn() -> T + Send + Sync>;

pub struct PerThread<T> {
    id: u64,
    common: T,
    make: Make<T>,
}

thread_local! {
    /// This thread's own, by the id of what they belong to.
    static OWN: RefCell<HashMap<u64, Box<dyn Any>>> = RefCell::default();
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

impl<T: Lane> PerThread<T> {
    /// `make` spawns onto the runtime that is present; it is called now, for the common one, and once for each thread.
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self::beside(make(), make)
    }

    /// The same beside a common one that is there already.
    pub fn beside(common: T, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), common, make: Box::new(make) }
    }

    /// This thread's; must be called within a runtime.
    pub fn get(&self) -> T {
        if Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread {
            return self.common.clone();
        }
        OWN.with_borrow_mut(|own| {
            let known = own.get(&self.id).and_then(|own| own.downcast_ref::<T>());
            if let Some(lane) = known.filter(|lane| !lane.has_ended()) {
                return lane.clone();
            }
            let lane = (self.make)();
            own.insert(self.id, Box::new(lane.clone()));
            lane
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone)]
    struct Task(Arc<tokio::task::JoinHandle<()>>, std::thread::ThreadId);

    impl Lane for Task {
        fn has_ended(&self) -> bool {
            self.0.is_finished()
        }
    }

    fn lanes() -> PerThread<Task> {
        PerThread::new(|| Task(Arc::new(tokio::spawn(std::future::pending())), std::thread::current().id()))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_thread_with_a_runtime_of_its_own_has_its_own_lane() {
        let lanes = Arc::new(lanes());
        let common = lanes.get();
        let shared = lanes.clone();
        let own = std::thread::spawn(move || {
            let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let first = runtime().block_on(async { (shared.get(), shared.get()) });
            assert!(Arc::ptr_eq(&first.0.0, &first.1.0), "made once");
            // The first runtime is gone and its tasks with it.
            let second = runtime().block_on(async { shared.get() });
            assert!(!Arc::ptr_eq(&first.0.0, &second.0));
            second.1
        });
        assert_ne!(own.join().expect("a thread"), common.1);
        assert!(Arc::ptr_eq(&lanes.get().0, &common.0));
    }
}
