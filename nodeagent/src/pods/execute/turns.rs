//! Work on a pod's files that is begun again while it is under way.
//!
//! Who gives an operation up cannot take back what a blocking thread is writing. Without turns, that thread and the next
//! operation's write at once, and the older content may be what stays.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::super::mail::Failure;
use super::blocking;

/// The turns of one pod, over all lives of its role. Cheap to clone.
#[derive(Clone, Default)]
pub struct Turns {
    turn: Arc<Mutex<()>>,
}

impl Turns {
    /// Takes in what is to be written, and then writes it where that may block: both when whoever began before has
    /// written all, also if it was given up meanwhile.
    pub async fn take<Content, Outcome>(
        &self,
        read: impl FnOnce() -> Content,
        write: impl FnOnce(Content) -> Outcome + Send + 'static,
    ) -> Result<Outcome, Failure>
    where
        Content: Send + 'static,
        Outcome: Send + 'static,
    {
        let turn = self.turn.clone().lock_owned().await;
        let content = read();
        blocking(move || {
            let outcome = write(content);
            drop(turn);
            outcome
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_was_given_up_is_written_before_the_next_is_read() {
        let turns = Turns::default();
        let (say, said) = mpsc::channel();
        let (begun, writing) = tokio::sync::oneshot::channel();
        let (release, released) = mpsc::channel::<()>();
        let first = {
            let (turns, say) = (turns.clone(), say.clone());
            tokio::spawn(async move {
                let write = move |content| {
                    let _ = begun.send(());
                    let _ = released.recv();
                    say.send(content)
                };
                turns.take(|| "old", write).await
            })
        };
        writing.await.expect("the first one writes");
        first.abort();
        assert!(first.await.is_err_and(|error| error.is_cancelled()), "it was given up");

        let noticed = say.clone();
        let second = turns.take(move || noticed.send("read"), move |_| say.send("new"));
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending(), "its turn has not come");
        release.send(()).expect("the first one waits");
        second.await.expect("a turn").expect("a listener");
        assert_eq!(said.iter().take(3).collect::<Vec<_>>(), ["old", "read", "new"]);
    }
}
