//! Work that waits for the disk, away from the threads that serve.
//!
//! In the simulation there is one thread, and such work is done at once.

#[cfg(not(test))]
pub use threads::{run, stream};

#[cfg(not(test))]
mod threads {
    use futures::Stream;
    use tokio::sync::mpsc;
    use tokio::task::JoinError;
    use tokio_stream::wrappers::ReceiverStream;

    pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        tokio::task::spawn_blocking(work).await
    }

    /// What the work sends, `capacity` items ahead of whoever takes them. Sending tells whether somebody still does.
    pub fn stream<T, Work>(capacity: usize, work: Work) -> impl Stream<Item = T> + Send + 'static
    where
        T: Send + 'static,
        Work: FnOnce(&mut dyn FnMut(T) -> bool) + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(capacity);
        tokio::task::spawn_blocking(move || work(&mut |item| sender.blocking_send(item).is_ok()));
        ReceiverStream::new(receiver)
    }
}

#[cfg(test)]
pub async fn run<T>(work: impl FnOnce() -> T) -> Result<T, tokio::task::JoinError> {
    Ok(work())
}

#[cfg(test)]
pub fn stream<T, Work>(_capacity: usize, work: Work) -> impl futures::Stream<Item = T> + Send + 'static
where
    T: Send + 'static,
    Work: FnOnce(&mut dyn FnMut(T) -> bool),
{
    let mut items = Vec::new();
    work(&mut |item| {
        items.push(item);
        true
    });
    futures::stream::iter(items)
}
