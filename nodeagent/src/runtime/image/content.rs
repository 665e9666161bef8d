//! containerd's content store: blobs in and out. containerd itself checks each blob against its digest.

use std::collections::HashMap;

use bytes::Bytes;
use containerd_client::services::v1::{
    AbortRequest, Info, InfoRequest, ReadContentRequest, UpdateRequest, WriteAction, WriteContentRequest,
};
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::runtime::Error;
use crate::runtime::containerd::{Containerd, Lease, failed, missing_is_fine};

/// Manifests and configs past this size are refused: they are read into memory.
const DOCUMENT_LIMIT: usize = 8 << 20;
/// One message to containerd.
const PIECE: usize = 512 << 10;

pub type Labels = HashMap<String, String>;

/// A blob to be.
pub struct Blob<'a> {
    pub digest: &'a str,
    pub size: i64,
    pub labels: Labels,
}

impl Containerd {
    pub async fn blob_info(&self, digest: &str) -> Result<Option<Info>, Error> {
        let request = self.request(InfoRequest { digest: digest.to_string() });
        let answer = missing_is_fine(self.content().info(request).await, "looking for content")?;
        Ok(answer.and_then(|answer| answer.into_inner().info))
    }

    /// A manifest or a config; `None` where the store does not have it.
    pub async fn read_document(&self, digest: &str) -> Result<Option<Vec<u8>>, Error> {
        let request = self.request(ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 });
        let Some(answer) = missing_is_fine(self.content().read(request).await, "reading content")? else {
            return Ok(None);
        };
        let mut stream = answer.into_inner();
        let mut document = Vec::new();
        loop {
            match stream.message().await {
                Ok(None) => return Ok(Some(document)),
                Ok(Some(piece)) => document.extend(piece.data),
                Err(status) if status.code() == Code::NotFound => return Ok(None),
                Err(status) => return Err(failed("reading content")(status)),
            }
            if document.len() > DOCUMENT_LIMIT {
                return Err(Error::InvalidSpec(format!("{digest} is larger than {DOCUMENT_LIMIT} bytes")));
            }
        }
    }

    pub async fn set_blob_labels(&self, digest: &str, labels: Labels) -> Result<(), Error> {
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let info = Info { digest: digest.to_string(), labels, ..Info::default() };
        let request = UpdateRequest { info: Some(info), update_mask: Some(prost_types::FieldMask { paths }) };
        self.content().update(self.request(request)).await.map_err(failed("labelling content"))?;
        Ok(())
    }

    /// Writes a blob from memory.
    pub async fn write_blob(&self, blob: Blob<'_>, data: Vec<u8>, lease: &Lease) -> Result<(), Error> {
        let stream = futures::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(data))]);
        self.write_blob_stream(blob, stream, lease).await.map_err(|error| match error {
            WriteError::Store(error) => error,
            WriteError::Source(never) => match never {},
        })
    }

    /// Writes a blob as it comes, with a bounded number of pieces under way. One that is there already is fine.
    pub async fn write_blob_stream<E>(
        &self,
        blob: Blob<'_>,
        mut source: impl Stream<Item = Result<Bytes, E>> + Unpin,
        lease: &Lease,
    ) -> Result<(), WriteError<E>> {
        let reference = format!("keelson-{}-{}", blob.digest, super::super::random_id(4));
        let (sender, receiver) = mpsc::channel(2);
        let mut client = self.content();
        let call = client.write(self.leased(ReceiverStream::new(receiver), lease));
        let write = async move {
            let mut answers = call.await?.into_inner();
            while answers.message().await?.is_some() {}
            Ok::<(), tonic::Status>(())
        };
        let feed = async {
            let mut offset = 0;
            let mut pending = bytes::BytesMut::new();
            let message = |action: WriteAction, offset: i64, data: Vec<u8>| WriteContentRequest {
                action: action as i32,
                r#ref: reference.clone(),
                total: blob.size,
                expected: blob.digest.to_string(),
                offset,
                data,
                labels: blob.labels.clone(),
            };
            loop {
                let next = source.next().await.transpose()?;
                let ended = next.is_none();
                pending.extend_from_slice(next.as_deref().unwrap_or_default());
                while pending.len() >= PIECE || (ended && !pending.is_empty()) {
                    let piece = pending.split_to(pending.len().min(PIECE)).to_vec();
                    let length = piece.len() as i64;
                    if sender.send(message(WriteAction::Write, offset, piece)).await.is_err() {
                        return Ok(());
                    }
                    offset += length;
                }
                if ended {
                    let _ = sender.send(message(WriteAction::Commit, offset, Vec::new())).await;
                    drop(sender);
                    return Ok(());
                }
            }
        };
        let (write, feed) = (std::pin::pin!(write), std::pin::pin!(feed));
        let outcome = match futures::future::select(write, feed).await {
            futures::future::Either::Left((written, _)) => written.map_err(|status| finished(status).err()),
            futures::future::Either::Right((Ok(()), write)) => write.await.map_err(|status| finished(status).err()),
            futures::future::Either::Right((Err(error), _)) => {
                self.abort(&reference).await;
                return Err(WriteError::Source(error));
            }
        };
        match outcome {
            Ok(()) | Err(None) => Ok(()),
            Err(Some(error)) => {
                self.abort(&reference).await;
                Err(WriteError::Store(error))
            }
        }
    }

    async fn abort(&self, reference: &str) {
        let request = AbortRequest { r#ref: reference.to_string() };
        if let Err(status) = self.content().abort(self.request(request)).await {
            tracing::debug!(%status, "cannot abort a write; containerd drops it in a day");
        }
    }
}

fn finished(status: tonic::Status) -> Result<(), Error> {
    match status.code() {
        Code::AlreadyExists => Ok(()),
        _ => Err(failed("writing content")(status)),
    }
}

#[derive(Debug)]
pub enum WriteError<E> {
    /// Where the bytes come from.
    Source(E),
    /// Where they go.
    Store(Error),
}
