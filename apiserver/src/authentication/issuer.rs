//! Signs service-account tokens (TokenRequest).

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;

use super::{Error, service_account::key_id};

pub struct Issuer {
    /// `iss` of every token.
    pub issuer: String,
    key: EncodingKey,
    header: Header,
}

impl Issuer {
    /// Reads `--service-account-signing-key-file`: an RSA or P-256 private key in PEM.
    pub fn load(path: &PathBuf, issuer: String) -> Result<Issuer, Error> {
        let pem = std::fs::read_to_string(path).map_err(|error| Error::Read(path.clone(), error))?;
        let unusable = |error: &dyn std::fmt::Display| Error::Key(path.clone(), error.to_string());
        let pair = rcgen::KeyPair::from_pem(&pem).map_err(|error| unusable(&error))?;
        let (key, algorithm) = if pair.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256 {
            (EncodingKey::from_ec_pem(pkcs8(&pair).as_bytes()), Algorithm::ES256)
        } else {
            (EncodingKey::from_rsa_pem(pem.as_bytes()), Algorithm::RS256)
        };
        let key = key.map_err(|error| unusable(&error))?;
        let mut header = Header::new(algorithm);
        header.typ = None;
        header.kid = Some(key_id(&rcgen::PublicKeyData::subject_public_key_info(&pair)));
        Ok(Issuer { issuer, key, header })
    }

    /// Signs the claims as they are; `iss` must be among them.
    pub fn sign(&self, claims: &Value) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.key)
    }
}

/// The signer wants PKCS#8, and openssl writes SEC1 for `ecparam -genkey`.
fn pkcs8(pair: &rcgen::KeyPair) -> String {
    pair.serialize_pem()
}
