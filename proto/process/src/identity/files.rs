//! Certificates and keys, from PEM files or from memory, and the rustls configurations made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// What cannot be used as an identity, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{what} is not usable PEM: {reason}")]
    Pem { what: String, reason: String },
    #[error("certificate and key do not make a TLS configuration: {0}")]
    Configuration(#[from] rustls::Error),
    #[error("the CA certificates cannot verify clients: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// Whether a server asks its clients for certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    Required,
    Optional,
    None,
}

/// Paths of one identity: the CA that peers are verified by, and the own certificate (chain) and key.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// One identity in PEM, in memory.
#[derive(Clone)]
pub struct TlsMaterial {
    pub ca: Vec<u8>,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl TlsFiles {
    pub fn new(ca: impl Into<PathBuf>, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { ca: ca.into(), certificate: certificate.into(), key: key.into() }
    }

    pub fn load(&self) -> Result<TlsMaterial, Error> {
        Ok(TlsMaterial { ca: read(&self.ca)?, certificate: read(&self.certificate)?, key: read(&self.key)? })
    }

    /// A server's configuration without ALPN protocols: the caller sets what it speaks.
    pub fn server_config(&self, client_auth: ClientAuth) -> Result<ServerConfig, Error> {
        self.load()?.server_config(client_auth)
    }

    /// A client's configuration that presents the certificate and trusts the CA alone.
    pub fn client_config(&self) -> Result<ClientConfig, Error> {
        self.load()?.client_config()
    }
}

impl TlsMaterial {
    pub fn server_config(&self, client_auth: ClientAuth) -> Result<ServerConfig, Error> {
        crate::process::identity_provider();
        let builder = ServerConfig::builder();
        let builder = match client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Optional | ClientAuth::Required => {
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots(&self.ca)?));
                let verifier =
                    if client_auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        Ok(builder.with_single_cert(chain(&self.certificate)?, key(&self.key)?)?)
    }

    pub fn client_config(&self) -> Result<ClientConfig, Error> {
        crate::process::identity_provider();
        let builder = ClientConfig::builder().with_root_certificates(roots(&self.ca)?);
        Ok(builder.with_client_auth_cert(chain(&self.certificate)?, key(&self.key)?)?)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let invalid = |reason: String| Error::Pem { what: "the certificate".to_owned(), reason };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| invalid(error.to_string()))?;
    if chain.is_empty() {
        return Err(invalid("it holds no CERTIFICATE block".to_owned()));
    }
    Ok(chain)
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| Error::Pem { what: "the private key".to_owned(), reason: error.to_string() })
}

fn roots(pem: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn material() -> TlsMaterial {
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).expect("self-signed");
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let leaf_key = rcgen::KeyPair::generate().expect("a key");
        let mut leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        leaf.distinguished_name.push(rcgen::DnType::CommonName, "system:node:one");
        leaf.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
        let certificate = leaf.signed_by(&leaf_key, &issuer).expect("signed");
        TlsMaterial {
            ca: ca_certificate.pem().into_bytes(),
            certificate: certificate.pem().into_bytes(),
            key: leaf_key.serialize_pem().into_bytes(),
        }
    }

    #[test]
    fn one_identity_serves_and_calls_and_is_read_back() {
        let material = material();
        material.server_config(ClientAuth::Required).expect("a server");
        material.client_config().expect("a client");
        let der = &chain(&material.certificate).expect("a chain")[0];
        let identity = Identity::of_certificate(der).expect("an identity");
        assert_eq!(
            identity,
            Identity { common_name: "system:node:one".into(), organizations: vec!["system:nodes".into()] }
        );
    }

    #[test]
    fn an_empty_file_is_named_as_such() {
        let broken = TlsMaterial { certificate: Vec::new(), ..material() };
        let error = broken.client_config().expect_err("refused");
        assert!(error.to_string().contains("no CERTIFICATE block"), "{error}");
    }
}
