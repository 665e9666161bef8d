//! Secret (core/v1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keelson_objects::field::FieldError;
use serde_json::Value;

use super::config_map::{SIZE_LIMIT, decoded_length, validate_immutable};
use super::fields::{Fields, FieldsMut};
use super::validation::{Errors, Path, names};
use crate::registry::{Cell, Column, Context, Kind, Strategy};
use crate::tables::cells;

const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

pub fn kind() -> Kind {
    Kind::new("", "v1", "Secret", "secrets")
        .columns(vec![
            cells::name_column(),
            Column::new(
                "Type",
                "string",
                "What programs may expect in the data.",
                Cell::Read(|secret, _| secret.text("type").into()),
            ),
            Column::new(
                "Data",
                "string",
                "How many keys there are.",
                Cell::Read(|secret, _| secret.map("data").map_or(0, |data| data.len()).into()),
            ),
            cells::age_column(),
        ])
        .selectable_field("type", |secret| secret.text("type").to_owned())
        .strategy(SecretStrategy)
}

struct SecretStrategy;

impl Strategy for SecretStrategy {
    /// `stringData` is for writing only: it is moved into `data`.
    fn default(&self, secret: &mut Value) {
        if let Some(Value::Object(texts)) = secret.remove_field("stringData") {
            let data = secret.object("data");
            for (key, text) in texts {
                data.put(&key, STANDARD.encode(text.as_str().unwrap_or("")));
            }
        }
        if secret.text("type").is_empty() {
            secret.put("type", "Opaque");
        }
    }

    /// A writer that leaves the type out means the type that is there.
    fn prepare_for_update(&self, _context: &Context<'_>, secret: &mut Value, old: &Value) {
        if secret.text("type").is_empty() {
            secret.put("type", old.text("type"));
        }
    }

    fn validate(&self, _context: &Context<'_>, secret: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("data");
        let mut size = 0;
        for (key, value) in secret.entries("data") {
            errors.messages(&path.key(key), key, names::config_map_key(key));
            size += decoded_length(value);
        }
        if size > SIZE_LIMIT {
            errors.too_long(&path, SIZE_LIMIT);
        }
        validate_type(secret, &path, &mut errors);
        errors.into_vec()
    }

    fn validate_update(&self, _context: &Context<'_>, secret: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.immutable(&Path::root("type"), secret.sub("type"), old.sub("type"));
        validate_immutable(secret, old, &["data"], &mut errors);
        errors.into_vec()
    }
}

/// What each well-known type must hold.
fn validate_type(secret: &Value, path: &Path, errors: &mut Errors) {
    let data = secret.sub("data");
    let need = |key: &str, errors: &mut Errors| {
        if !data.present(key) {
            errors.required(&path.key(key), "");
        }
    };
    match secret.text("type") {
        "kubernetes.io/service-account-token"
            if secret.sub("metadata").sub("annotations").text(SERVICE_ACCOUNT_NAME).is_empty() =>
        {
            let metadata = Path::root("metadata");
            errors.required(&metadata.child("annotations").key(SERVICE_ACCOUNT_NAME), "");
        }
        "kubernetes.io/dockercfg" => docker_config(data, ".dockercfg", path, errors),
        "kubernetes.io/dockerconfigjson" => docker_config(data, ".dockerconfigjson", path, errors),
        "kubernetes.io/basic-auth" if !data.present("username") && !data.present("password") => {
            need("username", errors);
            need("password", errors);
        }
        "kubernetes.io/ssh-auth" if data.text("ssh-privatekey").is_empty() => {
            errors.required(&path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            need("tls.crt", errors);
            need("tls.key", errors);
        }
        _ => {}
    }
}

fn docker_config(data: &Value, key: &str, path: &Path, errors: &mut Errors) {
    let path = path.key(key);
    if !data.present(key) {
        errors.required(&path, "");
        return;
    }
    let bytes = STANDARD.decode(data.text(key)).unwrap_or_default();
    if let Some(problem) = json_problem(&bytes) {
        errors.invalid(&path, "<secret contents redacted>", problem);
    }
}

/// Why these bytes are no JSON object, without a word of their content.
fn json_problem(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("unexpected end of JSON input".to_owned());
    }
    match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(_) | Value::Null) => None,
        Ok(_) => Some("json: cannot unmarshal into an object".to_owned()),
        Err(error) if error.is_eof() => Some("unexpected end of JSON input".to_owned()),
        Err(error) => Some(format!("invalid JSON at line {} column {}", error.line(), error.column())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn type_errors(secret: Value) -> Vec<String> {
        let mut errors = Errors::new();
        validate_type(&secret, &Path::root("data"), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn string_data_becomes_data() {
        let mut secret = json!({"stringData": {"a": "text"}, "data": {"a": "eA==", "b": "eQ=="}});
        SecretStrategy.default(&mut secret);
        assert_eq!(secret, json!({"data": {"a": "dGV4dA==", "b": "eQ=="}, "type": "Opaque"}));
    }

    #[test]
    fn types_ask_for_their_keys() {
        assert_eq!(
            type_errors(json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}})),
            ["data[tls.key]: Required value"]
        );
        assert_eq!(
            type_errors(json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eA=="}})),
            ["data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": invalid JSON at line 1 column 1"]
        );
        assert_eq!(
            type_errors(json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}})),
            Vec::<String>::new()
        );
        assert_eq!(type_errors(json!({"type": "kubernetes.io/basic-auth"})).len(), 2);
        assert_eq!(
            type_errors(json!({"type": "kubernetes.io/service-account-token"})),
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]
        );
    }
}
