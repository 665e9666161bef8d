//! The task through which a thread's calls go: one connection, batches by draining, answers in any order.
//!
//! It opens raftstore's pipelined stream; a store that does not know it (an etcd) gets unary calls instead. When the
//! connection is lost, the calls under way fail as `Lost` (their outcome is unknown) and the next endpoint is tried.

use std::{collections::HashMap, sync::Arc, time::Duration};

use keelson_wire::store::{Call, PipelineRequest, PipelineResponse, answer, store_client::StoreClient};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

use super::{
    Error, Pending,
    endpoints::{Connection, Endpoints},
    unary,
};

/// Calls in one message.
const BATCH: usize = 128;
/// Calls under way on one stream, and unary calls at once.
const IN_FLIGHT: usize = 4096;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

type Reply = oneshot::Sender<Result<answer::Response, Error>>;

enum Line {
    Pipelined(mpsc::Sender<PipelineRequest>, Streaming<PipelineResponse>),
    Unary(Channel),
}

/// How a line ended.
enum End {
    Lost,
    Finished,
}

pub(super) async fn run(mut calls: mpsc::Receiver<Pending>, endpoints: Arc<Endpoints>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let (line, endpoint) = match open(&endpoints).await {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%error, "store is not reachable");
                if !fail_waiting(&mut calls, &error, pause).await {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        let end = match line {
            Line::Pipelined(sender, answers) => pipelined(&mut calls, sender, answers).await,
            Line::Unary(channel) => unary_calls(&mut calls, channel).await,
        };
        match end {
            End::Finished => return,
            End::Lost => endpoints.pass_on(endpoint),
        }
    }
}

/// Refuses what waits and what comes during the pause. False when the last handle is gone.
async fn fail_waiting(calls: &mut mpsc::Receiver<Pending>, error: &Error, pause: Duration) -> bool {
    let until = tokio::time::Instant::now() + pause;
    loop {
        match tokio::time::timeout_at(until, calls.recv()).await {
            Ok(Some(pending)) => drop(pending.reply.send(Err(error.clone()))),
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

async fn open(endpoints: &Endpoints) -> Result<(Line, usize), Error> {
    let Connection { channel, endpoint } = endpoints.connect().await?;
    let (sender, requests) = mpsc::channel(4);
    let mut client = StoreClient::new(channel.clone())
        .max_decoding_message_size(unary::MESSAGE_LIMIT)
        .max_encoding_message_size(unary::MESSAGE_LIMIT);
    match client.pipeline(ReceiverStream::new(requests)).await {
        Ok(answers) => Ok((Line::Pipelined(sender, answers.into_inner()), endpoint)),
        Err(status) if status.code() == Code::Unimplemented => Ok((Line::Unary(channel), endpoint)),
        Err(status) => {
            endpoints.pass_on(endpoint);
            Err(Error::Unreachable(status.to_string()))
        }
    }
}

async fn pipelined(
    calls: &mut mpsc::Receiver<Pending>,
    sender: mpsc::Sender<PipelineRequest>,
    mut answers: Streaming<PipelineResponse>,
) -> End {
    let mut waiting: HashMap<u64, Reply> = HashMap::new();
    let mut next_id = 0u64;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let room = IN_FLIGHT.saturating_sub(waiting.len()).min(BATCH);
        tokio::select! {
            biased;
            answered = answers.message() => match answered {
                Ok(Some(response)) => resolve(&mut waiting, response),
                Ok(None) => return lose(waiting, "the store closed the stream"),
                Err(status) => return lose(waiting, status.message()),
            },
            // A place in the stream's buffer first, so that what is drained can be sent without waiting.
            permit = sender.reserve(), if room > 0 => {
                let Ok(permit) = permit else { return lose(waiting, "the stream ended") };
                let taken = tokio::select! {
                    biased;
                    taken = calls.recv_many(&mut batch, room) => Some(taken),
                    answered = answers.message() => {
                        match answered {
                            Ok(Some(response)) => resolve(&mut waiting, response),
                            Ok(None) => return lose(waiting, "the store closed the stream"),
                            Err(status) => return lose(waiting, status.message()),
                        }
                        None
                    }
                };
                match taken {
                    None => continue,
                    Some(0) => return End::Finished,
                    Some(_) => {}
                }
                let mut message = Vec::with_capacity(batch.len());
                for pending in batch.drain(..) {
                    next_id += 1;
                    waiting.insert(next_id, pending.reply);
                    message.push(Call { id: next_id, request: Some(pending.request), traceparent: pending.traceparent });
                }
                permit.send(PipelineRequest { calls: message });
            }
        }
    }
}

fn resolve(waiting: &mut HashMap<u64, Reply>, response: PipelineResponse) {
    for answer in response.answers {
        let Some(reply) = waiting.remove(&answer.id) else { continue };
        let result = match answer.response {
            Some(answer::Response::Failure(failure)) => {
                Err(Error::from_code(Code::from_i32(failure.code), failure.message))
            }
            Some(response) => Ok(response),
            None => Err(Error::Protocol("an empty answer")),
        };
        // Who asked may have gone.
        let _ = reply.send(result);
    }
}

fn lose(waiting: HashMap<u64, Reply>, reason: &str) -> End {
    tracing::warn!(reason, calls = waiting.len(), "the store's stream is lost");
    for reply in waiting.into_values() {
        let _ = reply.send(Err(Error::Lost(reason.to_owned())));
    }
    End::Lost
}

async fn unary_calls(calls: &mut mpsc::Receiver<Pending>, channel: Channel) -> End {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    let (lost, mut losses) = mpsc::channel::<()>(1);
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let pending = tokio::select! {
            pending = calls.recv() => pending,
            _ = losses.recv() => return End::Lost,
        };
        let Some(pending) = pending else { return End::Finished };
        let (channel, lost) = (channel.clone(), lost.clone());
        tokio::spawn(async move {
            let _slot = slot;
            let result = unary::call(channel, pending.request).await;
            if matches!(&result, Err(error) if error.is_transient()) {
                // One word is enough, whoever says it.
                let _ = lost.try_send(());
            }
            let _ = pending.reply.send(result);
        });
    }
}
