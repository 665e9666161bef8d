//! Service-account tokens for pods: asked for when needed, kept while they are good, renewed before they are not.
//!
//! A token is bound to its pod (TokenRequest API): it dies with it. It is renewed when 80 % of its life is over, and
//! after a day at the latest, as upstream does it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest as Request, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use keelson_client::Client;
use parking_lot::Mutex;

use super::payload::TokenRequest;
use crate::environment::ConfigError;
use crate::pods::backoff::later;
use crate::pods::spec;

const LONGEST_USE: SignedDuration = SignedDuration::from_hours(24);

/// The tokens of all pods of the node. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    client: Client,
    /// By pod uid.
    issued: Arc<Mutex<HashMap<String, HashMap<TokenRequest, Issued>>>>,
}

#[derive(Clone, Debug)]
struct Issued {
    token: String,
    renew_at: Timestamp,
}

impl Tokens {
    pub fn new(client: Client) -> Tokens {
        Tokens { client, issued: Arc::default() }
    }

    /// The token for a pod's volume: a known one that is still young, or a new one.
    pub async fn get(&self, pod: &Pod, request: &TokenRequest) -> Result<String, ConfigError> {
        let known = self.issued.lock().get(spec::uid(pod)).and_then(|tokens| tokens.get(request)).cloned();
        match known {
            Some(known) if known.renew_at > Timestamp::now() => Ok(known.token),
            _ => self.ask(pod, request).await,
        }
    }

    /// When the first of the pod's tokens is due for renewal.
    pub fn renew_at(&self, pod_uid: &str) -> Option<Timestamp> {
        self.issued.lock().get(pod_uid)?.values().map(|issued| issued.renew_at).min()
    }

    /// The pod is gone.
    pub fn forget(&self, pod_uid: &str) {
        self.issued.lock().remove(pod_uid);
    }

    async fn ask(&self, pod: &Pod, request: &TokenRequest) -> Result<String, ConfigError> {
        let account = spec::spec(pod).service_account_name.as_deref().filter(|name| !name.is_empty());
        let account = account.unwrap_or("default");
        let audiences = (!request.audience.is_empty()).then(|| vec![request.audience.clone()]);
        let body = Request {
            spec: Some(TokenRequestSpec {
                audiences: Some(audiences.unwrap_or_default()),
                expiration_seconds: Some(request.expiration_seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            }),
            ..Request::default()
        };
        let accounts = self.client.namespaced::<ServiceAccount>(spec::namespace(pod));
        let answer: Request = accounts
            .create_subresource(account, "token", &body)
            .await
            .map_err(|error| ConfigError(format!("failed to fetch token: {error}")))?;
        let (token, expires) =
            answer
                .status
                .and_then(|status| Some((status.token?, status.expiration_timestamp?.0)))
                .ok_or_else(|| ConfigError("failed to fetch token: the API server's answer has no token".to_owned()))?;
        let issued = Issued { token: token.clone(), renew_at: renewal(Timestamp::now(), expires) };
        self.issued.lock().entry(spec::uid(pod).to_owned()).or_default().insert(request.clone(), issued);
        Ok(token)
    }
}

fn renewal(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(issued);
    later(issued, (life * 4 / 5).min(LONGEST_USE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_at_four_fifths_of_their_life_or_after_a_day() {
        let issued = Timestamp::UNIX_EPOCH;
        for (life, want) in [(3600, 2880), (3607, 2885), (365 * 86400, 86400)] {
            let expires = later(issued, SignedDuration::from_secs(life));
            assert_eq!(renewal(issued, expires).as_second(), want, "a life of {life} s");
        }
    }
}
