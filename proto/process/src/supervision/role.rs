//! What an actor does.

use std::future::Future;

use crate::BoxError;

/// One actor's state and its behaviour. Mail is handled one at a time, in order; between two mails nothing of the role
/// runs. Blocking work belongs in `tokio::task::spawn_blocking`.
pub trait Role: 'static {
    type Mail: Send + 'static;

    /// Runs before the first mail, also after each restart.
    fn started(&mut self) -> impl Future<Output = Result<(), BoxError>> {
        async { Ok(()) }
    }

    /// Handles one mail. An error means that this role can go on no longer: it is made anew.
    fn handle(&mut self, mail: Self::Mail) -> impl Future<Output = Result<(), BoxError>>;
}
