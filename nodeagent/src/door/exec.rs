//! The streams of an exec or attach: the caller's input to the process, its output and exit code to the caller.

use std::time::Duration;

use async_stream::stream;
use futures::Stream;
use keelson_wire::node::{ExecInput, ExecOutput, exec_input, exec_output};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{oneshot, watch};
use tonic::{Status, Streaming};

use crate::runtime::{Output, Session, TerminalSize};

/// When a session ends with its input, what the process still says in this time is handed over.
const LAST_WORDS: Duration = Duration::from_secs(1);

type Stdin = Box<dyn tokio::io::AsyncWrite + Send + Unpin>;

/// Runs until the process has ended and all it said was handed over, until the caller has gone, or, where the session ends
/// with its input, until the caller has ended that.
pub fn stream(
    mut session: Session,
    inputs: Streaming<ExecInput>,
) -> impl Stream<Item = Result<ExecOutput, Status>> + Send {
    let stdin = session.stdin.take();
    let resizer = session.resizer();
    let (sizes, mut wanted) = watch::channel(None);
    let (closed, closing) = oneshot::channel();
    let input = AbortOnDrop(tokio::spawn(feed(inputs, stdin, sizes, closed)));
    let ends_with_input = session.ends_with_input;
    let mut over = Box::pin(async move {
        if !ends_with_input || closing.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(LAST_WORDS).await;
    });
    // Only the newest size counts: sizes that were overtaken are skipped.
    let resizing = AbortOnDrop(tokio::spawn(async move {
        while wanted.changed().await.is_ok() {
            let size: Option<TerminalSize> = *wanted.borrow_and_update();
            if let Some(size) = size
                && let Err(error) = resizer.resize(size).await
            {
                tracing::debug!(%error, "cannot resize the terminal");
            }
        }
    }));
    stream! {
        // Dropped with the stream: a caller that has gone types nothing more.
        let _tasks = (input, resizing);
        loop {
            let output = tokio::select! {
                output = session.output.recv() => output,
                () = &mut over => {
                    yield Ok(ExecOutput { output: Some(exec_output::Output::ExitCode(0)) });
                    return;
                }
            };
            let Some(output) = output else { break };
            let output = match output {
                Output::Stdout(data) => exec_output::Output::Stdout(data),
                Output::Stderr(data) => exec_output::Output::Stderr(data),
            };
            yield Ok(ExecOutput { output: Some(output) });
        }
        match session.wait().await {
            Ok(code) => yield Ok(ExecOutput { output: Some(exec_output::Output::ExitCode(code)) }),
            Err(error) => yield Err(Status::internal(error.to_string())),
        }
    }
}

async fn feed(
    mut inputs: Streaming<ExecInput>,
    mut stdin: Option<Stdin>,
    sizes: watch::Sender<Option<TerminalSize>>,
    closed: oneshot::Sender<()>,
) {
    let mut closed = Some(closed);
    while let Ok(Some(message)) = inputs.message().await {
        match message.input {
            Some(exec_input::Input::Stdin(data)) => {
                let Some(pipe) = &mut stdin else { continue };
                let written = async {
                    pipe.write_all(&data).await?;
                    pipe.flush().await
                };
                if written.await.is_err() {
                    // The process has closed its input; what comes later has nowhere to go.
                    stdin = None;
                }
            }
            Some(exec_input::Input::Resize(size)) => {
                let edge = |length: u32| u16::try_from(length).unwrap_or(u16::MAX);
                sizes.send_replace(Some(TerminalSize { width: edge(size.width), height: edge(size.height) }));
            }
            Some(exec_input::Input::StdinClosed(true)) => {
                stdin = None;
                // Nobody listens to it where the session goes on.
                let _ = closed.take().map(|closed| closed.send(()));
            }
            _ => {}
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
