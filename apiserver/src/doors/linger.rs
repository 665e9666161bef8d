//! A worker of the REST door stays awake for a moment after an answer: whoever asks one thing after the other asks the next
//! one soon. One for each worker; what a worker does meanwhile goes before.

use std::{rc::Rc, time::Duration};

use keelson_process::Eagerness;
use tokio::sync::Notify;

/// A client on the same machine has read the answer and written its next request within this time.
const NEXT_REQUEST: Duration = Duration::from_micros(150);

#[derive(Clone, Default)]
pub struct Linger(Rc<Signals>);

#[derive(Default)]
struct Signals {
    answered: Notify,
    asked: Notify,
}

impl Linger {
    /// For the worker whose thread this is.
    pub fn start() -> Linger {
        let linger = Linger::default();
        let signals = linger.0.clone();
        actix_web::rt::spawn(async move {
            let eagerness = Eagerness::new(NEXT_REQUEST);
            loop {
                signals.answered.notified().await;
                eagerness.wait(signals.asked.notified()).await;
            }
        });
        linger
    }

    pub fn asked(&self) {
        self.0.asked.notify_waiters();
    }

    pub fn answered(&self) {
        self.0.answered.notify_one();
    }
}
