//! Messages that kubectl 1.32 was seen to POST (`kubectl create …`, against a server that recorded them).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keelson_objects::protobuf;
use keelson_objects::schema::{FieldValidation, builtin, decode, default};
use serde_json::{Value, json};

/// `kubectl create deployment test-nginx --image=nginx:alpine --replicas=3`
const DEPLOYMENT: &str = "azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50Es8BCi0KCnRlc3QtbmdpbngSABoAIgAqADIAOABCAFoRCgNhcHASCnRlc3QtbmdpbngSjwEIAxITChEKA2FwcBIKdGVzdC1uZ2lueBpuCiMKABIAGgAiACoAMgA4AEIAWhEKA2FwcBIKdGVzdC1uZ2lueBJHEikKBW5naW54EgxuZ2lueDphbHBpbmUqAEIAagByAIABAIgBAJABAKIBABoAMgBCAEoAUgBYAGAAaACCAQCKAQCaAQDCAQAiAgoAKAA4ABoMCAAQABgAIAAoADgAGgAiAA==";
/// `kubectl create namespace demo`
const NAMESPACE: &str = "azhzAAoPCgJ2MRIJTmFtZXNwYWNlEhwKFAoEZGVtbxIAGgAiACoAMgA4AEIAEgAaAgoAGgAiAA==";
/// `kubectl create configmap c --from-literal=a=b`
const CONFIG_MAP: &str = "azhzAAoPCgJ2MRIJQ29uZmlnTWFwEhsKEQoBYxIAGgAiACoAMgA4AEIAEgYKAWESAWIaACIA";
/// `kubectl create secret generic s --from-literal=a=b`
const SECRET: &str = "azhzAAoMCgJ2MRIGU2VjcmV0Eh0KEQoBcxIAGgAiACoAMgA4AEIAEgYKAWESAWIaABoAIgA=";
/// `kubectl create service clusterip web --tcp=80:8080`
const SERVICE: &str = "azhzAAoNCgJ2MRIHU2VydmljZRJpCh8KA3dlYhIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEkIKGwoHODAtODA4MBIDVENQGFAiBwgAEJA/GgAoABIKCgNhcHASA3dlYhoAIglDbHVzdGVySVA6AEIAUgBaAGAAaAAaAgoAGgAiAA==";
/// `kubectl create serviceaccount robot`
const SERVICE_ACCOUNT: &str = "azhzAAoUCgJ2MRIOU2VydmljZUFjY291bnQSFwoVCgVyb2JvdBIAGgAiACoAMgA4AEIAGgAiAA==";

fn bytes(message: &str) -> Vec<u8> {
    STANDARD.decode(message).expect("base64")
}

#[test]
fn each_is_read_as_what_was_asked_for() {
    let read = |message| protobuf::decode(&bytes(message)).expect("a message of kubectl");
    assert_eq!(
        read(DEPLOYMENT),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "test-nginx", "labels": {"app": "test-nginx"}},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "test-nginx"}},
                "strategy": {},
                "template": {
                    "metadata": {"labels": {"app": "test-nginx"}},
                    "spec": {"containers": [{"name": "nginx", "image": "nginx:alpine", "resources": {}}]},
                },
            },
            "status": {},
        })
    );
    assert_eq!(
        read(NAMESPACE),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}, "spec": {}, "status": {}})
    );
    assert_eq!(
        read(CONFIG_MAP),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}})
    );
    assert_eq!(
        read(SECRET),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "Yg=="}})
    );
    assert_eq!(
        read(SERVICE),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "ports": [{"name": "80-8080", "protocol": "TCP", "port": 80, "targetPort": 8080}],
                "selector": {"app": "web"}, "type": "ClusterIP",
            },
            "status": {"loadBalancer": {}},
        })
    );
    assert_eq!(
        read(SERVICE_ACCOUNT),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}})
    );
}

#[test]
fn each_is_written_as_kubectl_wrote_it() {
    for message in [DEPLOYMENT, NAMESPACE, CONFIG_MAP, SECRET, SERVICE, SERVICE_ACCOUNT] {
        let original = bytes(message);
        let value = protobuf::decode(&original).expect("a message of kubectl");
        assert_eq!(protobuf::encode(&value).expect("a built-in kind"), original, "{value}");
    }
}

#[test]
fn json_and_protobuf_make_the_same_object() {
    let mut from_json = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "test-nginx", "labels": {"app": "test-nginx"}, "creationTimestamp": null},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": {"app": "test-nginx"}}, "strategy": {},
            "template": {
                "metadata": {"creationTimestamp": null, "labels": {"app": "test-nginx"}},
                "spec": {"containers": [{"image": "nginx:alpine", "name": "nginx", "resources": {}}]},
            },
        },
        "status": {},
    });
    let schema = builtin().kind("apps", "v1", "Deployment").expect("a built-in kind");
    decode(&mut from_json, schema, FieldValidation::Strict).expect("a valid deployment");
    let mut from_protobuf: Value = protobuf::decode(&bytes(DEPLOYMENT)).expect("a message of kubectl");
    assert_eq!(from_json, from_protobuf);
    default(&mut from_json, schema);
    default(&mut from_protobuf, schema);
    assert_eq!(from_json, from_protobuf);
    assert_eq!(from_json["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
}
