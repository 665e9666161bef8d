//! Port-forward: connections of the caller, made from within the pod's network namespace.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as BlockingStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use keelson_wire::node::{PortForwardInput, PortForwardOutput, port_forward_input, port_forward_output};
use nix::sched::{CloneFlags, setns};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Connections of one stream at once.
const CONNECTIONS: usize = 256;
/// Pieces that wait in each direction; then the sender pauses.
const PIECES: usize = 32;
const PIECE: usize = 32 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

type Sink = mpsc::Sender<Result<PortForwardOutput, Status>>;

/// Runs until the caller's side of the stream ends. `netns` is `None` for a pod in the host's network.
pub fn stream(
    netns: Option<PathBuf>,
    inputs: Streaming<PortForwardInput>,
) -> impl Stream<Item = Result<PortForwardOutput, Status>> + Send {
    let (sink, outputs) = mpsc::channel(PIECES);
    tokio::spawn(serve(netns, inputs, sink));
    ReceiverStream::new(outputs)
}

async fn serve(netns: Option<PathBuf>, mut inputs: Streaming<PortForwardInput>, sink: Sink) {
    let mut connections: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    while let Ok(Some(message)) = inputs.message().await {
        let number = message.connection;
        match message.input {
            Some(port_forward_input::Input::Open(open)) => {
                connections.retain(|_, data| !data.is_closed());
                let refusal = if connections.len() >= CONNECTIONS {
                    Some(format!("more than {CONNECTIONS} connections at once"))
                } else {
                    u16::try_from(open.port).err().map(|_| format!("{} is no port", open.port))
                };
                if let Some(reason) = refusal {
                    say(&sink, number, port_forward_output::Output::Error(reason)).await;
                    continue;
                }
                let (data, pieces) = mpsc::channel(PIECES);
                connections.insert(number, data);
                // The refusal above has looked at the port's range.
                let port = u16::try_from(open.port).unwrap_or_default();
                tokio::spawn(forward(netns.clone(), number, port, pieces, sink.clone()));
            }
            Some(port_forward_input::Input::Data(data)) => {
                if let Some(connection) = connections.get(&number) {
                    // A connection that has ended takes nothing more; its end was said.
                    let _ = connection.send(data).await;
                }
            }
            Some(port_forward_input::Input::Closed(true)) => {
                connections.remove(&number);
            }
            _ => {}
        }
    }
}

async fn say(sink: &Sink, connection: u32, output: port_forward_output::Output) {
    // The caller is gone: nobody is left to tell.
    let _ = sink.send(Ok(PortForwardOutput { connection, output: Some(output) })).await;
}

async fn forward(netns: Option<PathBuf>, number: u32, port: u16, mut pieces: mpsc::Receiver<Bytes>, sink: Sink) {
    let stream = match connect(netns, port).await {
        Ok(stream) => stream,
        Err(error) => {
            let text = format!("failed to connect to localhost:{port} inside namespace: {error}");
            return say(&sink, number, port_forward_output::Output::Error(text)).await;
        }
    };
    let (mut reader, mut writer) = stream.into_split();
    let writing = async {
        while let Some(piece) = pieces.recv().await {
            writer.write_all(&piece).await?;
        }
        writer.shutdown().await
    };
    let reading = async {
        let mut buffer = vec![0; PIECE];
        loop {
            let length = reader.read(&mut buffer).await?;
            if length == 0 {
                return Ok::<(), io::Error>(());
            }
            say(&sink, number, port_forward_output::Output::Data(Bytes::copy_from_slice(&buffer[..length]))).await;
        }
    };
    tokio::pin!(reading);
    // The caller may end its side and still wait for an answer; once the pod's side ends, all is said.
    let outcome = tokio::select! {
        outcome = &mut reading => outcome,
        written = writing => match written {
            Ok(()) => reading.await,
            Err(error) => Err(error),
        },
    };
    match outcome {
        Ok(()) => say(&sink, number, port_forward_output::Output::Closed(true)).await,
        Err(error) => say(&sink, number, port_forward_output::Output::Error(error.to_string())).await,
    }
}

async fn connect(netns: Option<PathBuf>, port: u16) -> io::Result<TcpStream> {
    // A thread of its own: it changes its network namespace and must never be given other work.
    let (done, connected) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("port-forward".to_owned()).spawn(move || {
        // The caller may have stopped waiting.
        let _ = done.send(connect_within(netns.as_deref(), port));
    })?;
    let stream = connected.await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

fn connect_within(netns: Option<&Path>, port: u16) -> io::Result<BlockingStream> {
    if let Some(netns) = netns {
        setns(File::open(netns)?, CloneFlags::CLONE_NEWNET)?;
    }
    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    BlockingStream::connect_timeout(&four, PATIENCE)
        .or_else(|error| BlockingStream::connect_timeout(&six, PATIENCE).map_err(|_| error))
}
