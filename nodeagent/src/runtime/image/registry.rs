//! Which registry an image is asked of, how, and what its answers mean.

use std::net::IpAddr;
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth as Secret;
use oci_client::{Client, Reference};

use crate::runtime::{Registries, RegistryAuth};

/// The reference itself behind each mirror of its registry, then at the registry.
pub fn candidates(reference: &Reference, registries: &Registries) -> Vec<Reference> {
    let mirrors = registries.mirrors.get(reference.registry()).map(Vec::as_slice).unwrap_or_default();
    let mut candidates: Vec<Reference> = mirrors
        .iter()
        .map(|mirror| {
            let mut mirrored = reference.clone();
            mirrored.set_mirror_registry(mirror.clone());
            mirrored
        })
        .collect();
    candidates.push(reference.clone());
    candidates
}

/// One client for one pull: it keeps tokens, and those of one pod's secret are nobody else's.
pub fn client(reference: &Reference, registries: &Registries) -> Client {
    let host = reference.resolve_registry();
    let protocol = if speaks_http(host, registries) { ClientProtocol::Http } else { ClientProtocol::Https };
    Client::new(ClientConfig {
        protocol,
        connect_timeout: Some(Duration::from_secs(30)),
        read_timeout: Some(Duration::from_secs(60)),
        user_agent: concat!("keelson/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}

fn speaks_http(host: &str, registries: &Registries) -> bool {
    if registries.insecure.iter().any(|insecure| insecure == host) {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub fn secret(auth: &RegistryAuth) -> Secret {
    match auth {
        RegistryAuth::Anonymous => Secret::Anonymous,
        RegistryAuth::Basic { username, password } => Secret::Basic(username.clone(), password.clone()),
        RegistryAuth::Bearer { token } => Secret::Bearer(token.clone()),
    }
}

/// Why a pull came to nothing.
#[derive(Debug)]
pub enum Refusal {
    NotFound,
    /// Other credentials may do better.
    Unauthorized(String),
    /// The registry cannot be reached, or is broken: worth another try later.
    Unavailable(String),
    Other(String),
}

impl From<OciDistributionError> for Refusal {
    fn from(error: OciDistributionError) -> Self {
        let text = crate::runtime::error::chain(&error);
        match error {
            OciDistributionError::ImageManifestNotFoundError(_) => Refusal::NotFound,
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                Refusal::Unauthorized(text)
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let has = |wanted: &[OciErrorCode]| envelope.errors.iter().any(|error| wanted.contains(&error.code));
                if has(&[OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]) {
                    Refusal::NotFound
                } else if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    Refusal::Unauthorized(text)
                } else {
                    Refusal::Other(text)
                }
            }
            OciDistributionError::ServerError { code: 404, .. } => Refusal::NotFound,
            OciDistributionError::ServerError { code: 401 | 403, .. } => Refusal::Unauthorized(text),
            OciDistributionError::ServerError { code: 429 | 500.., .. } => Refusal::Unavailable(text),
            OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => Refusal::Unavailable(text),
            _ => Refusal::Other(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_the_listed_are_spoken_to_in_http() {
        let registries = Registries { insecure: vec!["lan:5000".into()], ..Registries::default() };
        let table = [
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("lan:5000", true),
            ("lan:5001", false),
            ("docker.io", false),
            ("10.0.0.1:5000", false),
            ("localhost.example.com", false),
        ];
        for (host, expected) in table {
            assert_eq!(speaks_http(host, &registries), expected, "{host}");
        }
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        let registries = Registries {
            mirrors: [("docker.io".to_string(), vec!["mirror:5000".to_string()])].into(),
            ..Default::default()
        };
        let reference: Reference = "nginx".parse().expect("reference");
        let hosts: Vec<String> =
            candidates(&reference, &registries).iter().map(|one| one.resolve_registry().to_string()).collect();
        assert_eq!(hosts, ["mirror:5000", "index.docker.io"]);
    }
}
