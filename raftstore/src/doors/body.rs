//! What a call brings and what it is answered, over the streams of HTTP/2.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use prost::Message;
use tonic::Status;
use tonic::body::Body;

use super::serving::{Answers, MessageAnswer};

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");

/// The body of a request.
pub struct Incoming {
    /// What was looked at and is yet to be read.
    first: Option<Bytes>,
    rest: RecvStream,
}

impl Incoming {
    pub fn new(rest: RecvStream) -> Self {
        Self { first: None, rest }
    }

    /// The message, if it is there already, in one piece and as it is. Otherwise all of it is yet to be read.
    pub fn poll_message(&mut self, context: &mut Context<'_>) -> Option<Bytes> {
        let Poll::Ready(Some(Ok(mut piece))) = self.rest.poll_data(context) else { return None };
        let is_whole =
            piece.split_first_chunk::<PREFIX_BYTES>().is_some_and(|([is_compressed, length @ ..], message)| {
                *is_compressed == 0 && u32::from_be_bytes(*length) as usize == message.len()
            });
        if !is_whole {
            self.first = Some(piece);
            return None;
        }
        self.release(piece.len());
        Some(piece.split_off(PREFIX_BYTES))
    }

    fn release(&mut self, count: usize) {
        // It fails for a stream that has ended, which needs no window.
        let _ = self.rest.flow_control().release_capacity(count);
    }
}

/// A stream that is reset without an error has ended early, and in order (RFC 9113, section 8.1).
fn unless_in_order<T>(error: h2::Error) -> Option<Result<T, h2::Error>> {
    (error.reason() != Some(Reason::NO_ERROR)).then_some(Err(error))
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let piece = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(self.rest.poll_data(context)),
        };
        Poll::Ready(match piece {
            Some(Ok(piece)) => {
                self.release(piece.len());
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => unless_in_order(error),
            None => match ready!(self.rest.poll_trailers(context)) {
                Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(error) => unless_in_order(error),
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}

/// A message as it goes out.
pub fn framed(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let told = u32::try_from(length).map_err(|_| Status::resource_exhausted("the answer is larger than 4 GiB"))?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_u8(0);
    framed.put_u32(told);
    message.encode(&mut framed).map_err(|error| Status::internal(error.to_string()))?;
    Ok(framed.freeze())
}

/// Sends what a method of one message came to.
pub async fn answer_message(answer: MessageAnswer, respond: SendResponse<Bytes>) {
    if let Err(error) = send_message(respond, answer.await) {
        tracing::debug!(%error, "an answer had nowhere to go");
    }
}

fn send_message(mut respond: SendResponse<Bytes>, answer: Result<Bytes, Status>) -> Result<(), h2::Error> {
    match answer {
        Ok(message) => {
            let mut head = Response::new(());
            head.headers_mut().insert(CONTENT_TYPE, GRPC);
            let mut stream = respond.send_response(head, false)?;
            stream.send_data(message, false)?;
            stream.send_trailers(HeaderMap::from_iter([(GRPC_STATUS, OK)]))
        }
        Err(status) => {
            let (head, _) = status.into_http::<()>().into_parts();
            respond.send_response(Response::from_parts(head, ()), true).map(drop)
        }
    }
}

/// Answers any call. Ends early when its client has no use for the answer any more.
pub async fn answer<Door: Answers>(door: Door, request: Request<Incoming>, mut respond: SendResponse<Bytes>) {
    let mut answer = door.answer(request);
    let answered = poll_fn(|context| match respond.poll_reset(context) {
        Poll::Ready(_) => Poll::Ready(None),
        Poll::Pending => answer.as_mut().poll(context).map(Some),
    });
    let Some(Ok(response)) = answered.await else { return };
    if let Err(error) = send(respond, response).await {
        tracing::debug!(%error, "an answer had nowhere to go");
    }
}

async fn send(mut respond: SendResponse<Bytes>, response: Response<Body>) -> Result<(), h2::Error> {
    let (head, mut body) = response.into_parts();
    let is_all = body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), is_all)?;
    if is_all {
        return Ok(());
    }
    loop {
        let next = poll_fn(|context| match stream.poll_reset(context)? {
            Poll::Ready(reason) => Poll::Ready(Err(h2::Error::from(reason))),
            Poll::Pending => Pin::new(&mut body).poll_frame(context).map(Ok),
        });
        match next.await? {
            None => return stream.send_data(Bytes::new(), true),
            Some(Err(status)) => {
                tracing::debug!(%status, "an answer broke off");
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => {
                    wait_for_window(&mut stream, &piece).await?;
                    stream.send_data(piece, false)?;
                }
                Err(frame) => {
                    stream.reserve_capacity(0);
                    return stream.send_trailers(frame.into_trailers().unwrap_or_default());
                }
            },
        }
    }
}

/// Until the client takes anything: a stream that it lets wait makes no more answers meanwhile.
async fn wait_for_window(stream: &mut SendStream<Bytes>, piece: &Bytes) -> Result<(), h2::Error> {
    if piece.is_empty() {
        return Ok(());
    }
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(more) => more.map(drop)?,
            None => return Err(Reason::STREAM_CLOSED.into()),
        }
    }
    Ok(())
}
