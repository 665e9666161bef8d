//! What pods are made of, and what becomes of them.

mod basics;
mod endings;
mod identity;
mod images;
mod probes;
mod volumes;

use serde_json::{Value, json};

use super::World;
use crate::harness::{Kubectl, Result, Scenario, eventually};

pub fn scenarios() -> Vec<Scenario<World>> {
    let mut all = Vec::from(basics::SCENARIOS);
    all.extend(probes::SCENARIOS);
    all.extend(volumes::SCENARIOS);
    all.extend(identity::SCENARIOS);
    all.extend(endings::SCENARIOS);
    all.extend(images::SCENARIOS);
    all
}

fn pod(name: &str, spec: Value) -> String {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "run": name } }, "spec": spec })
        .to_string()
}

fn phase(kubectl: &Kubectl, name: &str, wanted: &str) -> Result<()> {
    eventually(&format!("{name} is {wanted}"), || {
        let pod = kubectl.get(&format!("pod {name}"))?;
        if pod["status"]["phase"] == wanted { Ok(()) } else { Err(pod["status"].to_string().into()) }
    })
}

/// Makes a pod.
fn create(kubectl: &Kubectl, name: &str, spec: Value) -> Result<()> {
    kubectl.feed("create --filename=-", &pod(name, spec)).map(drop)
}

/// Waits until a value of the pod, by JSON pointer, is as wanted.
fn shows(kubectl: &Kubectl, name: &str, pointer: &str, wanted: &Value) -> Result<()> {
    eventually(&format!("{pointer} of {name} is {wanted}"), || {
        let pod = kubectl.get(&format!("pod {name}"))?;
        if pod.pointer(pointer) == Some(wanted) { Ok(()) } else { Err(pod["status"].to_string().into()) }
    })
}

/// Waits until an event about the pod has the reason and contains the text.
fn event(kubectl: &Kubectl, name: &str, reason: &str, text: &str) -> Result<()> {
    eventually(&format!("an event {reason} of {name}"), || {
        let events = kubectl.get(&format!("events --field-selector=involvedObject.name={name},reason={reason}"))?;
        let mut messages =
            events["items"].as_array().into_iter().flatten().filter_map(|event| event["message"].as_str());
        if messages.any(|message| message.contains(text)) { Ok(()) } else { Err(events["items"].to_string().into()) }
    })
}

fn ready(kubectl: &Kubectl, names: &str) -> Result<()> {
    kubectl.run(&format!("wait --for=condition=Ready {names} --timeout=120s")).map(drop)
}
