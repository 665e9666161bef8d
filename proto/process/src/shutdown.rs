//! The signal by which a process ends: asked for once, seen by all.

use std::future::Future;
use std::sync::Arc;
use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

/// Cheap to clone. A child is cancelled with its parent, but not the other way round.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    failure: Arc<OnceLock<String>>,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything to end. Safe to call more than once.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Asks everything to end since the process cannot do its work; the first cause becomes the process' last words
    /// and its exit code is non-zero.
    pub fn fail(&self, cause: impl Into<String>) {
        let _ = self.failure.set(cause.into());
        self.token.cancel();
    }

    /// Why the process had to end, if it was not asked to from outside.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the shutdown begins; at once if it has begun.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Like [`begun`](Self::begun), for what must own its future (`serve_with_shutdown` and the like).
    pub fn begun_owned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// A part that can be ended alone and ends with the whole.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), failure: self.failure.clone() }
    }

    /// The token itself, for libraries that want one.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}
