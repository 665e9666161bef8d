//! The rules of probes and lifecycle hooks.

use serde_json::Value;

use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path, names, ports};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Liveness,
    Readiness,
    Startup,
}

impl Kind {
    pub fn field(self) -> &'static str {
        match self {
            Kind::Liveness => "livenessProbe",
            Kind::Readiness => "readinessProbe",
            Kind::Startup => "startupProbe",
        }
    }
}

pub fn validate(probe: &Value, kind: Kind, grace_period: Option<i64>, path: &Path, errors: &mut Errors) {
    handler(probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace_period, path, errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        errors.non_negative(&path.child(field), probe.int(field));
    }
    let termination = probe.int("terminationGracePeriodSeconds");
    if let Some(seconds) = termination.filter(|seconds| *seconds <= 0) {
        errors.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
    if kind == Kind::Readiness {
        if let Some(seconds) = termination {
            errors.invalid(
                &path.child("terminationGracePeriodSeconds"),
                seconds,
                "must not be set for readinessProbes",
            );
        }
        return;
    }
    // zero stands for the default, which is 1
    let threshold = probe.int("successThreshold").unwrap_or(1);
    if threshold != 1 {
        errors.invalid(&path.child("successThreshold"), threshold, "must be 1");
    }
}

pub fn validate_lifecycle(lifecycle: &Value, grace_period: Option<i64>, path: &Path, errors: &mut Errors) {
    for field in ["postStart", "preStop"] {
        if lifecycle.present(field) {
            let types = ["exec", "httpGet", "tcpSocket", "sleep"];
            handler(lifecycle.sub(field), &types, grace_period, &path.child(field), errors);
        }
    }
    if lifecycle.present("stopSignal") {
        // the pod's operating system decides which signals there are; upstream asks for it
        let signal = lifecycle.text("stopSignal");
        if !signal.starts_with("SIG") {
            errors.not_supported(
                &path.child("stopSignal"),
                signal,
                &["SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGTERM"],
            );
        }
    }
}

fn handler(holder: &Value, types: &[&str], grace_period: Option<i64>, path: &Path, errors: &mut Errors) {
    let mut count = 0;
    for field in types {
        let action = holder.sub(field);
        if action.is_null() {
            continue;
        }
        let path = path.child(field);
        count += 1;
        if count > 1 {
            errors.forbidden(&path, "may not specify more than 1 handler type");
            continue;
        }
        match *field {
            "exec" => {
                if action.items("command").is_empty() {
                    errors.required(&path.child("command"), "");
                }
            }
            "httpGet" => http_get(action, &path, errors),
            "sleep" => sleep(action, grace_period, &path, errors),
            _ => ports::number_or_name(action.sub("port"), &path.child("port"), errors),
        }
    }
    if count == 0 {
        errors.required(path, "must specify a handler type");
    }
}

fn http_get(action: &Value, path: &Path, errors: &mut Errors) {
    if action.text("path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    ports::number_or_name(action.sub("port"), &path.child("port"), errors);
    let scheme = action.text("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.not_supported(&path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in action.items("httpHeaders") {
        let name = header.text("name");
        errors.messages(&path.child("httpHeaders"), name, names::http_header_name(name));
    }
}

fn sleep(action: &Value, grace_period: Option<i64>, path: &Path, errors: &mut Errors) {
    let seconds = action.int("seconds").unwrap_or(0);
    if let Some(grace) = grace_period
        && !(0..=grace).contains(&seconds)
    {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path, seconds, detail);
    }
}
