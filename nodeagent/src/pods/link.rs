//! The way to a pod's actor, for the tasks that work for it.
//!
//! A role lives as long as somebody holds its inbox. The tasks of a pod, and the factory that makes its role anew, hold
//! this link instead, which the dispatcher cuts when the pod is done with. A role may be at work before its supervisor
//! has handed the inbox over: what is sent until then waits.

use std::sync::Arc;

use keelson_process::supervision::Inbox;
use tokio::sync::watch;

use super::mail::Mail;

#[derive(Clone)]
pub struct Link {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone)]
enum State {
    Unconnected,
    Connected(Inbox<Mail>),
    Cut,
}

impl Default for Link {
    fn default() -> Self {
        Link { state: Arc::new(watch::Sender::new(State::Unconnected)) }
    }
}

impl Link {
    pub fn connect(&self, inbox: Inbox<Mail>) {
        self.state.send_replace(State::Connected(inbox));
    }

    /// From now on mail goes nowhere, and the role ends when it has read what it has.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Waits for the inbox and for a place in it. Mail for a pod that is done with is dropped.
    pub async fn send(&self, mail: Mail) {
        let mut states = self.state.subscribe();
        let inbox = match states.wait_for(|state| !matches!(state, State::Unconnected)).await.as_deref() {
            Ok(State::Connected(inbox)) => inbox.clone(),
            _ => return,
        };
        // Ended: nobody is left to tell.
        let _ = inbox.send(mail).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_sent_to_a_link_that_is_cut_is_dropped() {
        let link = Link::default();
        let early = tokio::spawn({
            let link = link.clone();
            async move { link.send(Mail::Wake).await }
        });
        link.cut();
        early.await.expect("the sender goes on");
        link.send(Mail::Gone).await;
    }
}
