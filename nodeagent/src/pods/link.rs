//! The way to a pod's actor, for the tasks that work for it.
//!
//! A role lives as long as somebody holds its inbox. The tasks of a pod, and the factory that makes its role anew, hold
//! this link instead, which the dispatcher cuts when the pod is done with.

use std::sync::Arc;

use keelson_process::supervision::Inbox;
use parking_lot::Mutex;

use super::mail::Mail;

#[derive(Clone, Default)]
pub struct Link {
    inbox: Arc<Mutex<Option<Inbox<Mail>>>>,
}

impl Link {
    pub fn connect(&self, inbox: Inbox<Mail>) {
        *self.inbox.lock() = Some(inbox);
    }

    /// From now on mail goes nowhere, and the role ends when it has read what it has.
    pub fn cut(&self) {
        self.inbox.lock().take();
    }

    /// Waits for a place in the inbox. Mail for a pod that is done with is dropped.
    pub async fn send(&self, mail: Mail) {
        let inbox = self.inbox.lock().clone();
        if let Some(inbox) = inbox {
            // Ended: nobody is left to tell.
            let _ = inbox.send(mail).await;
        }
    }
}
