//! What is written into containerd beside each container, so that a restarted agent knows it again.
//!
//! Identity stands in labels, where other tools see it and lists can be filtered by it; the rest is one JSON document
//! in an extension. How a container ended is a second one, written before its task is let go.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::SystemTime;

use containerd_client::services::v1::{Container as Stored, container::Runtime as StoredRuntime};
use prost_types::Any;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Exit, PodIdentity, TerminationMessagePolicy};

pub const KIND: &str = "keelson.dev/kind";
const RECORD: &str = "keelson.dev/record";
pub const EXIT: &str = "keelson.dev/exit";
const RUNTIME: &str = "io.containerd.runc.v2";
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Record {
    Sandbox(SandboxRecord),
    Container(ContainerRecord),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxRecord {
    pub pod: PodIdentity,
    pub attempt: u32,
    pub created_at: SystemTime,
    pub cgroup_parent: String,
    pub directory: PathBuf,
    pub hostname: String,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    pub share_process_namespace: bool,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerRecord {
    pub pod: PodIdentity,
    pub sandbox_id: String,
    pub name: String,
    pub attempt: u32,
    pub created_at: SystemTime,
    pub image: String,
    pub image_id: String,
    pub spec_hash: String,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    pub log_path: PathBuf,
    pub cgroup: String,
    pub stop_signal: String,
    /// On the host.
    pub termination_message_file: Option<PathBuf>,
    pub termination_message_policy: TerminationMessagePolicy,
    pub annotations: BTreeMap<String, String>,
}

impl Record {
    pub fn pod(&self) -> &PodIdentity {
        match self {
            Record::Sandbox(record) => &record.pod,
            Record::Container(record) => &record.pod,
        }
    }

    fn labels(&self) -> HashMap<String, String> {
        let pod = self.pod();
        let mut labels = HashMap::from([
            ("io.kubernetes.pod.namespace".to_string(), pod.namespace.clone()),
            ("io.kubernetes.pod.name".to_string(), pod.name.clone()),
            ("io.kubernetes.pod.uid".to_string(), pod.uid.clone()),
        ]);
        match self {
            Record::Sandbox(record) => {
                labels.insert(KIND.into(), "sandbox".into());
                labels.insert("keelson.dev/attempt".into(), record.attempt.to_string());
            }
            Record::Container(record) => {
                labels.insert(KIND.into(), "container".into());
                labels.insert("io.kubernetes.container.name".into(), record.name.clone());
                labels.insert("keelson.dev/attempt".into(), record.attempt.to_string());
                labels.insert("keelson.dev/sandbox".into(), record.sandbox_id.clone());
                labels.insert("keelson.dev/spec-hash".into(), record.spec_hash.clone());
            }
        }
        labels
    }

    /// As containerd is told to make it.
    pub fn stored(
        &self,
        id: &str,
        image: &str,
        snapshotter: &str,
        spec: &oci_spec::runtime::Spec,
        options: Option<Any>,
    ) -> Result<Stored, serde_json::Error> {
        Ok(Stored {
            id: id.to_string(),
            labels: self.labels(),
            image: image.to_string(),
            runtime: Some(StoredRuntime { name: RUNTIME.into(), options }),
            spec: Some(Any { type_url: SPEC_TYPE.into(), value: serde_json::to_vec(spec)? }),
            snapshotter: snapshotter.to_string(),
            snapshot_key: id.to_string(),
            extensions: HashMap::from([(RECORD.to_string(), document(RECORD, self)?)]),
            ..Stored::default()
        })
    }

    /// `None` for what somebody else made.
    pub fn of(stored: &Stored) -> Option<Record> {
        read(stored, RECORD)
    }
}

pub fn exit_of(stored: &Stored) -> Option<Exit> {
    read(stored, EXIT)
}

pub fn exit_document(exit: &Exit) -> Result<Any, serde_json::Error> {
    document(EXIT, exit)
}

fn document(kind: &str, value: &impl Serialize) -> Result<Any, serde_json::Error> {
    Ok(Any { type_url: kind.to_string(), value: serde_json::to_vec(value)? })
}

fn read<T: DeserializeOwned>(stored: &Stored, kind: &str) -> Option<T> {
    let any = stored.extensions.get(kind)?;
    match serde_json::from_slice(&any.value) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(container = stored.id, kind, %error, "cannot read what an agent wrote");
            None
        }
    }
}

/// Options of the runc shim; the fields that we use of containerd.runc.v1.Options.
#[derive(Clone, PartialEq, prost::Message)]
struct RuncOptions {
    #[prost(string, tag = "7")]
    root: String,
}

pub fn runc_options(root: Option<&std::path::Path>) -> Option<Any> {
    use prost::Message;
    let root = root?.display().to_string();
    Some(Any { type_url: "containerd.runc.v1.Options".into(), value: RuncOptions { root }.encode_to_vec() })
}
