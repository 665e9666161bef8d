//! Commands in running containers: with streams for a person, or to completion for probes and hooks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetContainerRequest, KillRequest, ResizePtyRequest,
    StartRequest, WaitRequest,
};
use oci_spec::runtime::{Process, Spec};
use prost_types::Any;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tonic::Code;

use super::containerd::{failed, missing_is_fine};
use super::{Error, Event, ExecResult, ExecSpec, Output, Runtime, Session, TerminalSize, logs, random_id};

const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const READ_SIZE: usize = 16 << 10;
/// Of chunks on their way to a slow reader: then the command waits.
const BACKLOG: usize = 16;
/// What a command run to completion may say, a stream.
const RESULT_LIMIT: usize = 16 << 10;
/// How long output is waited for after the command ended: a child that it left may hold the pipe for ever.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Ends the exec when it is dropped before its end.
pub(crate) struct Control {
    resizer: Resizer,
    end: End,
}

enum End {
    /// A command: its exit code comes from containerd.
    Exec(ExecGuard),
    /// The container itself.
    Attach { runtime: Runtime, container_id: String },
}

/// Resizes a session's terminal from wherever the sizes come from.
#[derive(Clone)]
pub struct Resizer {
    runtime: Runtime,
    container_id: String,
    exec_id: String,
    tty: bool,
}

impl Resizer {
    /// Ignored without a terminal.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        if !self.tty {
            return Ok(());
        }
        let request = ResizePtyRequest {
            container_id: self.container_id.clone(),
            exec_id: self.exec_id.clone(),
            width: size.width.into(),
            height: size.height.into(),
        };
        let containerd = &self.runtime.inner.containerd;
        missing_is_fine(containerd.tasks().resize_pty(containerd.request(request)).await, "resizing terminal")
            .map(|_| ())
    }
}

impl Session {
    pub async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        self.control.resizer.resize(size).await
    }

    pub fn resizer(&self) -> Resizer {
        self.control.resizer.clone()
    }

    /// The exit code, once the command has ended; drain `output` too. For attach: of the container.
    pub async fn wait(&mut self) -> Result<i32, Error> {
        match &mut self.control.end {
            End::Exec(guard) => guard.wait().await,
            End::Attach { runtime, container_id } => {
                let mut events = runtime.events();
                loop {
                    let row = runtime.inner.table.require(container_id)?;
                    if let Some(exit) = row.container.exit() {
                        return Ok(exit.exit_code);
                    }
                    if events.recv().await.is_none() {
                        return Err(Error::NotRunning(container_id.clone()));
                    }
                }
            }
        }
    }
}

/// An exec in containerd: gone from there, killed if need be, when this is dropped.
struct ExecGuard {
    runtime: Runtime,
    container_id: String,
    exec_id: String,
    directory: PathBuf,
    exit: Option<i32>,
}

impl ExecGuard {
    async fn wait(&mut self) -> Result<i32, Error> {
        if let Some(code) = self.exit {
            return Ok(code);
        }
        let request = WaitRequest { container_id: self.container_id.clone(), exec_id: self.exec_id.clone() };
        let containerd = &self.runtime.inner.containerd;
        let answer = containerd.tasks().wait(containerd.request(request)).await;
        let code = answer.map_err(failed("waiting for command"))?.into_inner().exit_status as i32;
        self.exit = Some(code);
        Ok(code)
    }
}

impl Drop for ExecGuard {
    fn drop(&mut self) {
        let runtime = self.runtime.clone();
        let (container_id, exec_id) = (self.container_id.clone(), self.exec_id.clone());
        let (directory, ended) = (self.directory.clone(), self.exit.is_some());
        let Ok(handle) = tokio::runtime::Handle::try_current() else { return };
        handle.spawn(async move {
            let containerd = &runtime.inner.containerd;
            if !ended {
                let kill = KillRequest {
                    container_id: container_id.clone(),
                    exec_id: exec_id.clone(),
                    signal: nix::libc::SIGKILL as u32,
                    all: false,
                };
                let killed = containerd.tasks().kill(containerd.request(kill)).await;
                if killed.is_ok() {
                    let wait = WaitRequest { container_id: container_id.clone(), exec_id: exec_id.clone() };
                    let _ = containerd.tasks().wait(containerd.request(wait)).await;
                }
            }
            let delete = DeleteProcessRequest { container_id, exec_id };
            let _ = containerd.tasks().delete_process(containerd.request(delete)).await;
            let _ = fs::remove_dir_all(directory);
        });
    }
}

/// Reading ends of a command's pipes, and the writing end of its stdin.
struct Pipes {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

impl Runtime {
    pub async fn exec(&self, spec: ExecSpec) -> Result<Session, Error> {
        let (guard, pipes) = self.start_exec(&spec).await?;
        let resizer = Resizer {
            runtime: self.clone(),
            container_id: spec.container_id.clone(),
            exec_id: guard.exec_id.clone(),
            tty: spec.tty,
        };
        let (sender, output) = mpsc::channel(BACKLOG);
        if let Some(stdout) = pipes.stdout {
            tokio::spawn(forward(stdout, sender.clone(), Output::Stdout));
        }
        if let Some(stderr) = pipes.stderr {
            tokio::spawn(forward(stderr, sender, Output::Stderr));
        }
        let stdin = pipes.stdin.map(|pipe| {
            let close = CloseStdin::of(&resizer);
            Box::new(Stdin { pipe, close }) as Box<dyn AsyncWrite + Send + Unpin>
        });
        Ok(Session { stdin, output, ends_with_input: false, control: Control { resizer, end: End::Exec(guard) } })
    }

    /// Runs to completion; killed at `timeout`.
    pub async fn exec_sync(
        &self,
        container_id: &str,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, Error> {
        let spec = ExecSpec {
            container_id: container_id.to_string(),
            command: command.to_vec(),
            stdout: true,
            stderr: true,
            ..ExecSpec::default()
        };
        let run = async {
            let (mut guard, pipes) = self.start_exec(&spec).await?;
            let stdout = collect(pipes.stdout);
            let stderr = collect(pipes.stderr);
            let exit_code = guard.wait().await?;
            let both = async { tokio::join!(stdout.finish(), stderr.finish()) };
            let (stdout, stderr) = both.await;
            Ok(ExecResult { exit_code, stdout, stderr })
        };
        match tokio::time::timeout(timeout, run).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::ExecTimeout(timeout)),
        }
    }

    /// Goes on to its end if it is given up: the shim waits half a minute for the reader of a pipe that has gone, and nothing
    /// in the container can be killed meanwhile.
    async fn start_exec(&self, spec: &ExecSpec) -> Result<(ExecGuard, Pipes), Error> {
        let (runtime, spec) = (self.clone(), spec.clone());
        let starting = tokio::spawn(async move { runtime.begin_exec(&spec).await });
        starting.await.unwrap_or_else(|error| Err(Error::Oci(format!("the start of a command broke off: {error}"))))
    }

    async fn begin_exec(&self, spec: &ExecSpec) -> Result<(ExecGuard, Pipes), Error> {
        let row = self.inner.table.require(&spec.container_id)?;
        if !row.container.is_running() {
            return Err(Error::NotRunning(spec.container_id.clone()));
        }
        let process = self.process_of(&spec.container_id).await?;
        let process = exec_process(process, spec);
        let exec_id = format!("exec-{}", random_id(8));
        let directory = logs::directory(&self.inner.options, &exec_id);
        let guard = ExecGuard {
            runtime: self.clone(),
            container_id: spec.container_id.clone(),
            exec_id: exec_id.clone(),
            directory: directory.clone(),
            exit: None,
        };

        let path = |wanted: bool, name: &str| -> Result<Option<PathBuf>, Error> {
            if wanted { logs::fifo(&directory, name).map(Some) } else { Ok(None) }
        };
        let stdin = path(spec.stdin, "stdin")?;
        let stdout = path(spec.stdout || spec.tty, "stdout")?;
        // A terminal has one output.
        let stderr = path(spec.stderr && !spec.tty, "stderr")?;
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let value = serde_json::to_vec(&process).map_err(|error| Error::InvalidSpec(error.to_string()))?;
        let request = ExecProcessRequest {
            container_id: spec.container_id.clone(),
            stdin: text(&stdin),
            stdout: text(&stdout),
            stderr: text(&stderr),
            terminal: spec.tty,
            spec: Some(Any { type_url: PROCESS_TYPE.into(), value }),
            exec_id: exec_id.clone(),
        };
        // Ours are open before the shim's, so that none of its opens waits.
        let read = |path: Option<PathBuf>| path.map(|path| open_reader(&path)).transpose();
        let (stdout, stderr) = (read(stdout)?, read(stderr)?);
        let containerd = &self.inner.containerd;
        containerd.tasks().exec(containerd.request(request)).await.map_err(exec_failure)?;
        // Opened for both: the shim opens its reading end on start, in its own time.
        let stdin = stdin.map(|path| open_writer(&path)).transpose()?;
        let start = StartRequest { container_id: spec.container_id.clone(), exec_id };
        containerd.tasks().start(containerd.request(start)).await.map_err(exec_failure)?;
        Ok((guard, Pipes { stdin, stdout, stderr }))
    }

    async fn process_of(&self, id: &str) -> Result<Process, Error> {
        let containerd = &self.inner.containerd;
        let request = GetContainerRequest { id: id.to_string() };
        let answer = containerd.containers().get(containerd.request(request)).await;
        let container = answer.map_err(failed("reading container"))?.into_inner().container.unwrap_or_default();
        let spec = container.spec.unwrap_or_default();
        let spec: Spec = serde_json::from_slice(&spec.value)
            .map_err(|error| Error::InvalidSpec(format!("specification of {id}: {error}")))?;
        spec.process().clone().ok_or_else(|| Error::InvalidSpec(format!("{id} has no process")))
    }

    /// Output from now on, and if asked for, stdin of a container that has one.
    pub async fn attach(&self, container_id: &str, with_stdin: bool) -> Result<Session, Error> {
        let row = self.inner.table.require(container_id)?;
        if !row.container.is_running() {
            return Err(Error::NotRunning(container_id.to_string()));
        }
        let resizer = Resizer {
            runtime: self.clone(),
            container_id: container_id.to_string(),
            exec_id: String::new(),
            tty: row.container.tty,
        };
        let with_stdin = with_stdin && row.container.stdin;
        let stdin = match with_stdin {
            true => {
                let path = logs::directory(&self.inner.options, container_id).join("stdin");
                let pipe = open_writer(&path)?;
                let close = if row.record.stdin_once { CloseStdin::of(&resizer) } else { CloseStdin(None) };
                Some(Box::new(Stdin { pipe, close }) as Box<dyn AsyncWrite + Send + Unpin>)
            }
            false => None,
        };
        let (sender, output) = mpsc::channel(BACKLOG);
        let follower = super::follow::Follower::at_end(&row.container.log_path)?;
        let mut events = self.events();
        let (runtime, id) = (self.clone(), container_id.to_string());
        let ended = async move {
            while runtime.inner.table.row(&id).is_some_and(|row| row.container.is_running()) {
                match events.recv().await {
                    Some(Event::ContainerExited { .. } | Event::Resync) => {}
                    Some(_) => {}
                    None => return,
                }
            }
        };
        tokio::spawn(follower.forward(sender, ended));
        let end = End::Attach { runtime: self.clone(), container_id: container_id.to_string() };
        // As containerd has it: with `stdinOnce` and no terminal, the container reads the end and says what it makes of it.
        let ends_with_input = with_stdin && (row.container.tty || !row.record.stdin_once);
        Ok(Session { stdin, output, ends_with_input, control: Control { resizer, end } })
    }
}

/// The container's own process, running something else.
fn exec_process(mut process: Process, spec: &ExecSpec) -> Process {
    process.set_args(Some(spec.command.clone())).set_terminal(Some(spec.tty));
    if spec.tty {
        let mut environment = process.env().clone().unwrap_or_default();
        if !environment.iter().any(|variable| variable.starts_with("TERM=")) {
            environment.push("TERM=xterm".into());
        }
        process.set_env(Some(environment));
    }
    process
}

/// What runc says of a command that it cannot run, in upstream's frame.
fn exec_failure(status: tonic::Status) -> Error {
    match status.code() {
        Code::Unavailable | Code::Cancelled => failed("starting command")(status),
        _ => Error::Oci(format!("failed to exec in container: {}", status.message())),
    }
}

fn open_reader(path: &Path) -> Result<pipe::Receiver, Error> {
    pipe::OpenOptions::new().open_receiver(path).map_err(Error::io("opening", path))
}

fn open_writer(path: &Path) -> Result<pipe::Sender, Error> {
    pipe::OpenOptions::new().read_write(true).open_sender(path).map_err(Error::io("opening", path))
}

async fn forward(mut pipe: pipe::Receiver, sender: mpsc::Sender<Output>, kind: fn(bytes::Bytes) -> Output) {
    let mut buffer = vec![0; READ_SIZE];
    loop {
        tokio::select! {
            // Nobody reads any more.
            () = sender.closed() => return,
            read = pipe.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    if sender.send(kind(bytes::Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                        return;
                    }
                }
            },
        }
    }
}

/// What a stream says is taken, and what is past the limit dropped: the command never waits for us.
struct Collected {
    task: tokio::task::JoinHandle<()>,
    text: std::sync::Arc<parking_lot::Mutex<Vec<u8>>>,
}

fn collect(pipe: Option<impl AsyncRead + Send + Unpin + 'static>) -> Collected {
    let text = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let shared = text.clone();
    let task = tokio::spawn(async move {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
            let mut text = shared.lock();
            let room = RESULT_LIMIT - text.len();
            text.extend_from_slice(&buffer[..count.min(room)]);
        }
    });
    Collected { task, text }
}

impl Collected {
    async fn finish(mut self) -> Vec<u8> {
        if tokio::time::timeout(DRAIN_LIMIT, &mut self.task).await.is_err() {
            self.task.abort();
        }
        std::mem::take(&mut *self.text.lock())
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells the shim, which holds the pipe open too, that there is no more.
struct CloseStdin(Option<(Runtime, String, String)>);

impl CloseStdin {
    fn of(resizer: &Resizer) -> Self {
        CloseStdin(Some((resizer.runtime.clone(), resizer.container_id.clone(), resizer.exec_id.clone())))
    }
}

struct Stdin {
    pipe: pipe::Sender,
    close: CloseStdin,
}

impl Drop for Stdin {
    fn drop(&mut self) {
        let Some((runtime, container_id, exec_id)) = self.close.0.take() else { return };
        let Ok(handle) = tokio::runtime::Handle::try_current() else { return };
        handle.spawn(async move {
            let containerd = &runtime.inner.containerd;
            let request = CloseIoRequest { container_id, exec_id, stdin: true };
            let _ = containerd.tasks().close_io(containerd.request(request)).await;
        });
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}
