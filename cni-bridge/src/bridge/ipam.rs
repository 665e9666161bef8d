//! Where the bridge plugin gets addresses: host-local in this process, any other IPAM plugin as a process of its own.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::host_local;
use crate::protocol::{CniResult, Error, Request};

enum Ipam<'a> {
    /// A bridge without addresses (layer 2).
    None,
    HostLocal,
    Delegate(&'a str),
}

fn chosen(request: &Request) -> Result<Ipam<'_>, Error> {
    let ipam = &request.config.ipam;
    match ipam.get("type") {
        None if ipam.is_null() || ipam.as_object().is_some_and(serde_json::Map::is_empty) => Ok(Ipam::None),
        Some(serde_json::Value::String(kind)) => Ok(match kind.as_str() {
            "" => Ipam::None,
            "host-local" => Ipam::HostLocal,
            other => Ipam::Delegate(other),
        }),
        _ => Err(Error::config("ipam has no type")),
    }
}

pub fn add(request: &Request) -> Result<CniResult, Error> {
    let result = match chosen(request)? {
        Ipam::None => return Ok(CniResult::default()),
        Ipam::HostLocal => host_local::add(request)?,
        Ipam::Delegate(plugin) => {
            let output = run(plugin, "ADD", request)?;
            serde_json::from_slice(&output)
                .map_err(|error| Error::decoding(format!("result of IPAM plugin {plugin}: {error}")))?
        }
    };
    if result.ips.is_empty() {
        return Err(Error::failed("IPAM plugin returned missing IP config"));
    }
    Ok(result)
}

pub fn del(request: &Request) -> Result<(), Error> {
    match chosen(request)? {
        Ipam::None => Ok(()),
        Ipam::HostLocal => host_local::del(request),
        Ipam::Delegate(plugin) => run(plugin, "DEL", request).map(|_| ()),
    }
}

pub fn check(request: &Request) -> Result<(), Error> {
    match chosen(request)? {
        Ipam::None => Ok(()),
        Ipam::HostLocal => host_local::check(request),
        Ipam::Delegate(plugin) => run(plugin, "CHECK", request).map(|_| ()),
    }
}

pub fn gc(request: &Request) -> Result<(), Error> {
    match chosen(request)? {
        Ipam::None => Ok(()),
        Ipam::HostLocal => host_local::gc(request),
        Ipam::Delegate(plugin) => run(plugin, "GC", request).map(|_| ()),
    }
}

pub fn status(request: &Request) -> Result<(), Error> {
    match chosen(request)? {
        Ipam::None => Ok(()),
        Ipam::HostLocal => host_local::status(request),
        Ipam::Delegate(plugin) => run(plugin, "STATUS", request).map(|_| ()),
    }
}

fn run(plugin: &str, command: &str, request: &Request) -> Result<Vec<u8>, Error> {
    if plugin.contains('/') {
        return Err(Error::config(format!("invalid plugin name: {plugin}")));
    }
    let path = request
        .environment
        .path
        .split(':')
        .map(|directory| PathBuf::from(directory).join(plugin))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::failed(format!("failed to find plugin {plugin:?} in path [{}]", request.environment.path))
        })?;
    let failed = |error: std::io::Error| Error::io(format!("running {}: {error}", path.display()));
    let mut child = Command::new(&path)
        .env("CNI_COMMAND", command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().ok_or_else(|| Error::io("plugin has no standard input"))?;
    stdin.write_all(&request.input).map_err(failed)?;
    drop(stdin);
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() { Ok(output.stdout) } else { Err(Error::delegated(plugin, &output.stdout)) }
}
