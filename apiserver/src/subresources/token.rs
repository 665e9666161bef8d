//! serviceaccounts/token: TokenRequest (KEP-1205), a token for an account that ends by itself, or with the pod, secret
//! or node that it is bound to.

use async_trait::async_trait;
use keelson_objects::status::{GroupResource, StatusError};
use keelson_objects::time;
use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::kinds::fields::{Fields, FieldsMut};
use crate::kinds::validation::{Errors, Path};
use crate::pipeline::{Answer, Request};
use crate::registry::Exchange;

const DEFAULT_SECONDS: i64 = 60 * 60;
const SHORTEST_SECONDS: i64 = 10 * 60;
const LONGEST_SECONDS: i64 = 1 << 32;

pub struct IssueToken;

#[async_trait]
impl Exchange for IssueToken {
    async fn exchange(&self, cluster: &Cluster, request: &Request, mut body: Value) -> Result<Answer, StatusError> {
        let Some(issuer) = cluster.issuer() else {
            return Err(StatusError::internal(
                "no key to sign service account tokens with (--service-account-signing-key-file)",
            ));
        };
        let account = found(cluster, "serviceaccounts", &request.namespace, &request.name).await?;
        complete(&mut body, request, &cluster.settings().api_audiences)?;
        let errors = validate(body.sub("spec"));
        if !errors.is_empty() {
            let kind = "TokenRequest";
            return Err(StatusError::invalid("authentication.k8s.io", kind, &request.name, &errors.into_vec()));
        }
        let warnings = super::admit(cluster, request, &mut body).await?;
        let bound = bound_objects(cluster, request, body.sub("spec").sub("boundObjectRef")).await?;

        let issued = time::now().as_second();
        let expires = issued + body.sub("spec").int("expirationSeconds").unwrap_or(DEFAULT_SECONDS);
        let claims = claims(&issuer.issuer, &account, bound, body.sub("spec"), issued, expires);
        let token = issuer
            .sign(&claims)
            .map_err(|error| StatusError::internal(format!("failed to generate token: {error}")))?;
        let expiration = jiff::Timestamp::from_second(expires).map(time::seconds).map_err(StatusError::internal)?;
        body.put("status", json!({ "token": token, "expirationTimestamp": expiration }));
        Ok(Answer { warnings, ..Answer::value(201, &body) })
    }
}

/// The newest known state of an object, or NotFound.
async fn found(cluster: &Cluster, resource: &str, namespace: &str, name: &str) -> Result<Value, StatusError> {
    let entry = match cluster.cached("", resource, namespace, name) {
        Some(entry) => Some(entry),
        None => cluster.current("", resource, namespace, name).await?,
    };
    match entry {
        Some(entry) => entry.value(),
        None => Err(StatusError::not_found(&GroupResource::new("", resource), name)),
    }
}

fn complete(body: &mut Value, request: &Request, audiences: &[String]) -> Result<(), StatusError> {
    let metadata = body.object("metadata");
    let name = metadata.text("name");
    if !name.is_empty() && name != request.name {
        return Err(StatusError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name
        )));
    }
    metadata.put("name", request.name.as_str());
    metadata.put("namespace", request.namespace.as_str());
    metadata.put("creationTimestamp", time::now_seconds());
    let spec = body.object("spec");
    if spec.items("audiences").is_empty() {
        spec.put("audiences", audiences.to_vec());
    }
    spec.put_if_absent("expirationSeconds", DEFAULT_SECONDS);
    Ok(())
}

fn validate(spec: &Value) -> Errors {
    let mut errors = Errors::new();
    let root = Path::root("spec");
    let path = root.child("expirationSeconds");
    let seconds = spec.int("expirationSeconds").unwrap_or(DEFAULT_SECONDS);
    if seconds < SHORTEST_SECONDS {
        errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > LONGEST_SECONDS {
        errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    errors
}

/// The private claims for what the token is bound to. It must exist under its uid, and a pod must run as the account.
async fn bound_objects(
    cluster: &Cluster,
    request: &Request,
    reference: &Value,
) -> Result<Map<String, Value>, StatusError> {
    let mut claims = Map::new();
    if reference.is_null() {
        return Ok(claims);
    }
    let (kind, name, uid) = (reference.text("kind"), reference.text("name"), reference.text("uid"));
    let (field, resource, namespace) = match (reference.text("apiVersion"), kind) {
        ("v1", "Pod") => ("pod", "pods", request.namespace.as_str()),
        ("v1", "Secret") => ("secret", "secrets", request.namespace.as_str()),
        ("v1", "Node") => ("node", "nodes", ""),
        (version, kind) => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            let text = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(StatusError::bad_request(text));
        }
    };
    let object = found(cluster, resource, namespace, name).await?;
    if kind == "Pod" && object.sub("spec").text("serviceAccountName") != request.name {
        return Err(StatusError::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            request.name
        )));
    }
    let present = object.sub("metadata").text("uid");
    if !uid.is_empty() && uid != present {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(StatusError::conflict(&GroupResource::new("", kind), name, why));
    }
    claims.insert(field.to_owned(), json!({ "name": name, "uid": present }));
    let node = object.sub("spec").text("nodeName");
    if kind == "Pod" && !node.is_empty() {
        // a pod may be bound to a node that is gone; its name alone is true then
        let node_claim = match cluster.cached("", "nodes", "", node) {
            Some(entry) => json!({ "name": node, "uid": entry.value()?.sub("metadata").text("uid") }),
            None => json!({ "name": node }),
        };
        claims.insert("node".to_owned(), node_claim);
    }
    Ok(claims)
}

fn claims(issuer: &str, account: &Value, bound: Map<String, Value>, spec: &Value, issued: i64, expires: i64) -> Value {
    let metadata = account.sub("metadata");
    let (namespace, name) = (metadata.text("namespace"), metadata.text("name"));
    let mut private = bound;
    private.insert("namespace".to_owned(), namespace.into());
    private.insert("serviceaccount".to_owned(), json!({ "name": name, "uid": metadata.text("uid") }));
    json!({
        "aud": spec.sub("audiences"),
        "exp": expires,
        "iat": issued,
        "iss": issuer,
        "jti": uuid::Uuid::new_v4().to_string(),
        "kubernetes.io": private,
        "nbf": issued,
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_ten_minutes_at_least() {
        let texts = |seconds: i64| {
            let errors = validate(&json!({ "expirationSeconds": seconds })).into_vec();
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(texts(600).is_empty());
        assert_eq!(
            texts(599),
            ["spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"]
        );
        assert_eq!(texts(LONGEST_SECONDS + 1).len(), 1);
    }

    #[test]
    fn claims_say_who_and_what_the_token_is_bound_to() {
        let account = json!({"metadata": {"namespace": "a", "name": "robot", "uid": "u"}});
        let bound = Map::from_iter([("pod".to_owned(), json!({"name": "web", "uid": "p"}))]);
        let claims = claims("https://issuer", &account, bound, &json!({"audiences": ["api"]}), 100, 700);
        assert_eq!(claims["sub"], "system:serviceaccount:a:robot");
        assert_eq!(claims["kubernetes.io"]["serviceaccount"], json!({"name": "robot", "uid": "u"}));
        assert_eq!(claims["kubernetes.io"]["pod"]["uid"], "p");
        assert_eq!(claims["kubernetes.io"]["namespace"], "a");
        assert_eq!((claims["iat"].as_i64(), claims["exp"].as_i64()), (Some(100), Some(700)));
        assert_eq!(claims["aud"], json!(["api"]));
    }
}
