//! Ports of containers, services and endpoints.

use std::collections::HashSet;

use serde_json::Value;

use super::{Errors, Path, names};
use crate::kinds::fields::Fields;

pub const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub fn container_ports(ports: &[Value], path: &Path, errors: &mut Errors) {
    let mut taken = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            let messages = names::port_name(name);
            if !messages.is_empty() {
                errors.messages(&path.child("name"), name, messages);
            } else if !taken.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        match port.int("containerPort").unwrap_or(0) {
            0 => errors.required(&path.child("containerPort"), ""),
            number => port_number(number, &path.child("containerPort"), errors),
        }
        let host_port = port.int("hostPort").unwrap_or(0);
        if host_port != 0 {
            port_number(host_port, &path.child("hostPort"), errors);
        }
        errors.one_of(&path.child("protocol"), port.text("protocol"), PROTOCOLS);
    }
}

pub fn port_number(port: i64, path: &Path, errors: &mut Errors) {
    for message in names::port_number(port) {
        errors.invalid(path, port, message);
    }
}

/// A port that may be given by number or by a container port's name.
pub fn number_or_name(port: &Value, path: &Path, errors: &mut Errors) {
    match port {
        Value::String(name) => errors.messages(path, name, names::port_name(name)),
        number => port_number(number.as_i64().unwrap_or(0), path, errors),
    }
}
