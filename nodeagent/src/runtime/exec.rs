//! draft
use super::*;
pub struct Control;
impl Session {
    /// Of a terminal; ignored without one.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), Error> { let _ = size; Ok(()) }
    /// Resizes from another task than the one that holds the session.
    pub fn resizer(&self) -> Resizer { Resizer }
    /// The exit code of an exec, once the command has ended; drain `output` too. For attach: of the container.
    pub async fn wait(&mut self) -> Result<i32, Error> { let _ = &self.control; Ok(0) }
}
#[derive(Clone)]
pub struct Resizer;
impl Resizer {
    pub async fn resize(&self, size: TerminalSize) -> Result<(), Error> { let _ = size; Ok(()) }
}
pub struct EventReceiver(pub(crate) tokio::sync::broadcast::Receiver<Event>);
impl EventReceiver {
    /// `None`: the runtime has shut down.
    pub async fn recv(&mut self) -> Option<Event> { self.0.recv().await.ok() }
}
