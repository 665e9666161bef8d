//! pods/log: a container's output as plain text, on request as it comes, and over a WebSocket for who asks for one.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use keelson_objects::status::StatusError;
use keelson_wire::node::{LogChunk, LogsRequest};

use super::query::Query;
use super::{connect, container, target, websocket};
use crate::cluster::Cluster;
use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path};
use crate::pipeline::Request;
use crate::registry::Connect;

/// As in k8s.io/apimachinery's `wsstream`: the log's bytes, or text messages in base64.
const PROTOCOLS: &[&str] = &["binary.k8s.io", "base64.binary.k8s.io", ""];

pub struct Log;

#[async_trait(?Send)]
impl Connect for Log {
    async fn connect(
        &self,
        cluster: &Cluster,
        request: Request,
        http: HttpRequest,
        payload: web::Payload,
    ) -> Result<HttpResponse, StatusError> {
        let query = Query::parse(http.query_string());
        let options = options(&query, &request.name)?;
        let pod = target::pod(cluster, &request).await?;
        let container = container::choose(&pod, query.text("container"))?;
        let node = pod.sub("spec").text("nodeName");
        if node.is_empty() {
            // nothing has run yet, so there is nothing to show
            return Ok(HttpResponse::NoContent().finish());
        }
        let logs = LogsRequest {
            namespace: request.namespace.clone(),
            pod: request.name.clone(),
            pod_uid: pod.sub("metadata").text("uid").to_owned(),
            container,
            ..options
        };
        let mut agent = connect::agent(cluster, node).await?;
        let mut stream = agent.logs(logs).await.map_err(|status| connect::refusal(&status))?.into_inner();
        // a refusal may come with the first message; once the answer has begun it can only break off
        let first = match stream.next().await {
            Some(Err(status)) => return Err(connect::refusal(&status)),
            Some(Ok(chunk)) => Some(chunk),
            None => None,
        };
        let body = futures::stream::iter(first.map(Ok)).chain(stream).map(chunk);
        if websocket::is_wanted(&http) {
            let (response, session, messages, protocol) = websocket::accept(&http, payload, PROTOCOLS)?;
            actix_web::rt::spawn(relay(body, session, messages, protocol.starts_with("base64")));
            return Ok(response);
        }
        Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/plain")).streaming(body))
    }
}

/// Sends the log as messages until it ends or the client goes. One that breaks off is told by an end without a reason.
async fn relay(
    body: impl Stream<Item = Result<Bytes, std::io::Error>>,
    mut client: Session,
    mut messages: MessageStream,
    in_base64: bool,
) {
    let mut body = std::pin::pin!(body);
    loop {
        tokio::select! {
            chunk = body.next() => {
                let sent = match chunk {
                    Some(Ok(data)) if in_base64 => client.text(STANDARD.encode(&data)).await,
                    Some(Ok(data)) => client.binary(data).await,
                    Some(Err(_)) => return drop(client.close(None).await),
                    None => {
                        let reason = CloseReason { code: CloseCode::Normal, description: None };
                        return drop(client.close(Some(reason)).await);
                    }
                };
                if sent.is_err() {
                    return;
                }
            }
            message = messages.next() => match message {
                Some(Ok(Message::Ping(data))) if client.pong(&data).await.is_err() => return,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}

fn chunk(message: Result<LogChunk, tonic::Status>) -> Result<Bytes, std::io::Error> {
    message.map(|chunk| chunk.data).map_err(|status| std::io::Error::other(status.message().to_owned()))
}

/// PodLogOptions from the query, judged.
fn options(query: &Query, pod: &str) -> Result<LogsRequest, StatusError> {
    let mut errors = Errors::new();
    let mut int = |name: &str| match query.int(name) {
        Ok(number) => number,
        Err(text) => {
            errors.invalid(&Path::root(name), text, "must be an integer");
            None
        }
    };
    let (since_seconds, tail_lines, limit_bytes) = (int("sinceSeconds"), int("tailLines"), int("limitBytes"));
    let since_time = query.text("sinceTime");
    errors.non_negative(&Path::root("tailLines"), tail_lines);
    if let Some(limit) = limit_bytes.filter(|limit| *limit < 1) {
        errors.invalid(&Path::root("limitBytes"), limit, "must be greater than 0");
    }
    match since_seconds {
        Some(_) if !since_time.is_empty() => {
            errors.forbidden(&Path::root(""), "at most one of `sinceTime` or `sinceSeconds` may be specified");
        }
        Some(seconds) if seconds < 1 => errors.invalid(&Path::root("sinceSeconds"), seconds, "must be greater than 0"),
        _ => {}
    }
    if !since_time.is_empty() && keelson_objects::time::parse(since_time).is_none() {
        errors.invalid(&Path::root("sinceTime"), since_time, "must be a time in RFC 3339");
    }
    let stream = match query.text("stream") {
        "" => "All",
        stream => stream,
    };
    if !["All", "Stdout", "Stderr"].contains(&stream) {
        errors.not_supported(&Path::root("stream"), stream, &["All", "Stderr", "Stdout"]);
    } else if stream != "All" && tail_lines.is_some() {
        errors.forbidden(&Path::root(""), "`tailLines` and specific `stream` are mutually exclusive for now");
    }
    if !errors.is_empty() {
        return Err(StatusError::invalid("", "PodLogOptions", pod, &errors.into_vec()));
    }
    Ok(LogsRequest {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        since_seconds,
        since_time: since_time.to_owned(),
        tail_lines,
        limit_bytes,
        stream: stream.to_owned(),
        ..LogsRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(text: &str) -> Vec<String> {
        let Err(error) = options(&Query::parse(text), "web") else { return Vec::new() };
        let status = error.status().to_value();
        status.sub("details").items("causes").iter().map(|cause| cause.text("message").to_owned()).collect()
    }

    #[test]
    fn options_are_judged() {
        let good = options(&Query::parse("follow=true&tailLines=0&timestamps=1&sinceSeconds=5"), "web").unwrap();
        assert!(good.follow && good.timestamps && !good.previous);
        assert_eq!((good.tail_lines, good.since_seconds, good.stream.as_str()), (Some(0), Some(5), "All"));
        assert_eq!(reasons("tailLines=-1"), ["Invalid value: -1: must be greater than or equal to 0"]);
        assert_eq!(reasons("limitBytes=0"), ["Invalid value: 0: must be greater than 0"]);
        assert_eq!(
            reasons("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z"),
            ["Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"]
        );
        assert_eq!(reasons("tailLines=x").len(), 1);
        assert_eq!(reasons("stream=Stdin").len(), 1);
    }
}
