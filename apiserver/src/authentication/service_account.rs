//! Service-account tokens: JWTs that this cluster signed, for accounts (and pods) that still exist.
//!
//! A token's signature is checked once and remembered; whether its account and the pod it is bound to still
//! exist, with the same uid, is asked of the watch cache for every request. The cache may be some milliseconds behind:
//! a token outlives its pod by as much (upstream's informers lag alike), but before one is refused the store is
//! asked, because what it is bound to may just have been made.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation};
use parking_lot::RwLock;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Error, User};
use crate::{cache::Cache, registry::Registry, storage::Store};

/// Verified tokens that are remembered.
const REMEMBERED: usize = 4096;
const PREFIX: &str = "system:serviceaccount:";

struct Key {
    id: String,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

pub struct Verifier {
    keys: Vec<Key>,
    issuer: String,
    audiences: Vec<String>,
    remembered: RwLock<HashMap<String, Arc<Verified>>>,
}

#[derive(Debug)]
struct Verified {
    user: Arc<User>,
    claims: Claims,
}

#[derive(Debug, Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    jti: Option<String>,
    exp: u64,
    #[serde(rename = "kubernetes.io")]
    private: Private,
}

#[derive(Debug, Deserialize)]
struct Private {
    namespace: String,
    serviceaccount: Reference,
    #[serde(default)]
    pod: Option<Reference>,
    #[serde(default)]
    secret: Option<Reference>,
    #[serde(default)]
    node: Option<Reference>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    name: String,
    #[serde(default)]
    uid: String,
}

impl Verifier {
    /// Reads `--service-account-key-file`s: public keys, or private ones whose public half is meant.
    pub fn load(paths: &[PathBuf], issuer: String, audiences: Vec<String>) -> Result<Verifier, Error> {
        let mut keys = Vec::new();
        for path in paths {
            let pem = std::fs::read_to_string(path).map_err(|error| Error::Read(path.clone(), error))?;
            keys.push(key_of(&pem).map_err(|error| Error::Key(path.clone(), error))?);
        }
        Ok(Verifier { keys, issuer, audiences, remembered: RwLock::default() })
    }

    pub async fn authenticate(
        &self,
        token: &str,
        registry: &Registry,
        cache: &Cache,
        store: &Store,
    ) -> Option<Arc<User>> {
        let verified = self.verified(token)?;
        let private = &verified.claims.private;
        let valid = verified.claims.exp > now()
            && (bound_objects_exist(private, registry, cache)
                || (cache.caught_up(store).await.is_ok() && bound_objects_exist(private, registry, cache)));
        valid.then(|| verified.user.clone())
    }

    /// What a token with a good signature says.
    fn verified(&self, token: &str) -> Option<Arc<Verified>> {
        let known = self.remembered.read().get(token).cloned();
        if known.is_some() {
            return known;
        }
        let verified = Arc::new(self.verify(token)?);
        let mut remembered = self.remembered.write();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(token.to_owned(), verified.clone());
        Some(verified)
    }

    fn verify(&self, token: &str) -> Option<Verified> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let named = |key: &&Key| header.kid.as_ref().is_none_or(|id| *id == key.id);
        for key in self.keys.iter().filter(named) {
            let mut validation = Validation::new(*key.algorithms.first()?);
            validation.algorithms = key.algorithms.clone();
            validation.set_issuer(&[&self.issuer]);
            validation.set_audience(&self.audiences);
            validation.validate_nbf = true;
            let Ok(data) = jsonwebtoken::decode::<Claims>(token, &key.key, &validation) else { continue };
            let claims = data.claims;
            let private = &claims.private;
            if claims.sub != format!("{PREFIX}{}:{}", private.namespace, private.serviceaccount.name) {
                return None;
            }
            return Some(Verified { user: Arc::new(user_of(&claims)), claims });
        }
        None
    }
}

fn user_of(claims: &Claims) -> User {
    let private = &claims.private;
    let mut extra = BTreeMap::new();
    let mut add = |name: &str, value: &str| {
        extra.insert(format!("authentication.kubernetes.io/{name}"), vec![value.to_owned()]);
    };
    if let Some(id) = &claims.jti {
        add("credential-id", &format!("JTI={id}"));
    }
    for (name, reference) in [("pod", &private.pod), ("node", &private.node)] {
        if let Some(reference) = reference {
            add(&format!("{name}-name"), &reference.name);
            add(&format!("{name}-uid"), &reference.uid);
        }
    }
    User {
        name: claims.sub.clone(),
        uid: private.serviceaccount.uid.clone(),
        groups: vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{}", private.namespace),
            User::AUTHENTICATED.to_owned(),
        ],
        extra,
    }
}

fn bound_objects_exist(private: &Private, registry: &Registry, cache: &Cache) -> bool {
    let exists = |resource: &str, reference: &Reference| {
        let Some(kind) = registry.find_resource("", resource) else { return false };
        let namespace = if kind.namespaced() { private.namespace.as_str() } else { "" };
        let Some(entry) = cache.get(kind, namespace, &reference.name) else { return false };
        // The uid is a long random text; finding it in the object's bytes in quotes is as good as parsing them.
        let quoted = format!("\"{}\"", reference.uid);
        entry.json().windows(quoted.len()).any(|window| window == quoted.as_bytes())
    };
    exists("serviceaccounts", &private.serviceaccount)
        && private.pod.as_ref().is_none_or(|pod| exists("pods", pod))
        && private.secret.as_ref().is_none_or(|secret| exists("secrets", secret))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Upstream's key id: the hash of the public key in DER.
pub(super) fn key_id(public_key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(public_key))
}

fn key_of(pem: &str) -> Result<Key, String> {
    let public = if pem.contains("PRIVATE KEY") {
        let pair = rcgen::KeyPair::from_pem(pem).map_err(|error| error.to_string())?;
        rcgen::PublicKeyData::subject_public_key_info(&pair)
    } else {
        der_of(pem)?
    };
    let text = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&public));
    let key = DecodingKey::from_ec_pem(text.as_bytes())
        .or_else(|_| DecodingKey::from_rsa_pem(text.as_bytes()))
        .map_err(|error| error.to_string())?;
    let algorithms = match key.family() {
        AlgorithmFamily::Ec => vec![Algorithm::ES256, Algorithm::ES384],
        _ => vec![Algorithm::RS256, Algorithm::RS384, Algorithm::RS512],
    };
    Ok(Key { id: key_id(&public), key, algorithms })
}

fn der_of(pem: &str) -> Result<Vec<u8>, String> {
    let body: String = pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).map_err(|error| format!("bad base64 in PEM: {error}"))
}
