//! A real registry: Debian's docker-registry, with a password, on an address of the test's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::images::{Image, MANIFEST_TYPE, digest};
use super::{Result, eventually, run};

pub const USER: &str = "keel";
pub const PASSWORD: &str = "son of a ship";

pub struct Registry {
    address: String,
    process: Child,
    directory: PathBuf,
}

impl Registry {
    /// Starts the registry at `host:port` with its data in `directory`.
    pub fn start(host: &str, port: u16, directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        let password_file = directory.join("htpasswd");
        let entry = run("htpasswd", &["-Bbn", USER, PASSWORD], None)?;
        std::fs::write(&password_file, entry.stdout)?;
        let address = format!("{host}:{port}");
        let configuration = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {data}}}\n  delete: {{enabled: true}}\n\
             http: {{addr: \"{address}\"}}\nauth:\n  htpasswd: {{realm: test, path: {password}}}\n",
            data = directory.join("data").display(),
            password = password_file.display(),
        );
        let configuration_file = directory.join("config.yml");
        std::fs::write(&configuration_file, configuration)?;
        let log = std::fs::File::create(directory.join("registry.log"))?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot start docker-registry: {error}"))?;
        let registry = Self { address, process, directory: directory.to_owned() };
        eventually("the registry answers", || registry.request("GET", "/v2/", &[], &[]).map(drop))?;
        Ok(registry)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Pushes an image as `<address>/<name>:<tag>` and returns that reference.
    pub fn push(&self, image: &Image, name: &str, tag: &str) -> Result<String> {
        for blob in [&image.layer, &image.configuration] {
            let (_, head, _) = self.demand("POST", &format!("/v2/{name}/blobs/uploads/"), &[], &[], 202)?;
            let location = header(&head, "location").ok_or("an upload has a location")?;
            let path = location.find("/v2/").map(|at| &location[at..]).ok_or("an upload's location has a path")?;
            let separator = if path.contains('?') { '&' } else { '?' };
            let target = format!("{path}{separator}digest={}", digest(blob));
            self.demand("PUT", &target, &[("Content-Type", "application/octet-stream")], blob, 201)?;
        }
        self.demand(
            "PUT",
            &format!("/v2/{name}/manifests/{tag}"),
            &[("Content-Type", MANIFEST_TYPE)],
            &image.manifest,
            201,
        )?;
        Ok(format!("{}/{name}:{tag}", self.address))
    }

    fn demand(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        code: u16,
    ) -> Result<(u16, String, Vec<u8>)> {
        let answer = self.request(method, target, headers, body)?;
        if answer.0 == code {
            return Ok(answer);
        }
        Err(format!(
            "the registry answered {method} {target} with {}: {}",
            answer.0,
            String::from_utf8_lossy(&answer.2)
        )
        .into())
    }

    /// One HTTP/1.1 request on a connection of its own.
    fn request(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, String, Vec<u8>)> {
        let mut stream = TcpStream::connect(&self.address)?;
        let credentials = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {credentials}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let end =
            answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("the registry's answer has no head")?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let code = head.split(' ').nth(1).ok_or("the registry's answer has no code")?.parse()?;
        Ok((code, head, answer[end + 4..].to_vec()))
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
