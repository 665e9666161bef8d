//! Where mail for a role goes: bounded, and it outlives the role's incarnations.

use tokio::sync::mpsc;

/// Sends mail to a role. Cheap to clone; the role ends when the last inbox is dropped and all mail is handled.
pub struct Inbox<Mail> {
    sender: mpsc::Sender<Mail>,
}

/// Mail that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Rejected<Mail> {
    /// The inbox is full at this moment.
    Full(Mail),
    /// The role has ended for good.
    Ended(Mail),
}

impl<Mail> Clone for Inbox<Mail> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<Mail> Inbox<Mail> {
    pub(super) fn new(capacity: usize) -> (Self, mpsc::Receiver<Mail>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self { sender }, receiver)
    }

    /// Waits for a place. Gives the mail back if the role has ended.
    pub async fn send(&self, mail: Mail) -> Result<(), Rejected<Mail>> {
        self.sender.send(mail).await.map_err(|error| Rejected::Ended(error.0))
    }

    /// Does not wait.
    pub fn try_send(&self, mail: Mail) -> Result<(), Rejected<Mail>> {
        self.sender.try_send(mail).map_err(|error| match error {
            mpsc::error::TrySendError::Full(mail) => Rejected::Full(mail),
            mpsc::error::TrySendError::Closed(mail) => Rejected::Ended(mail),
        })
    }

    pub fn has_ended(&self) -> bool {
        self.sender.is_closed()
    }

    /// Resolves when the role has ended for good.
    pub async fn ended(&self) {
        self.sender.closed().await;
    }
}
