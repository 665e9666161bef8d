//! Names, in the forms in which rules here ask for them. The rules themselves are `keelson_objects::names`.
//!
//! `prefix` says that the name is a prefix to which a suffix will be added.

pub use keelson_objects::names::{
    config_map_key, dns1123_label, dns1123_subdomain, env_var_name, http_header_name, label_value, percent, port_name,
    port_number, qualified_name,
};

pub fn subdomain(name: &str, prefix: bool) -> Vec<String> {
    judge(dns1123_subdomain, name, prefix)
}

pub fn label(name: &str, prefix: bool) -> Vec<String> {
    judge(dns1123_label, name, prefix)
}

fn judge(rule: fn(&str) -> Vec<String>, name: &str, prefix: bool) -> Vec<String> {
    if prefix { keelson_objects::names::generated(rule, name) } else { rule(name) }
}

/// A subdomain whose labels may also hold underscores, as DNS search paths do (KEP-4427).
pub fn subdomain_with_underscore(name: &str) -> Vec<String> {
    let plain = name.replace('_', "a");
    if dns1123_subdomain(&plain).is_empty() {
        return Vec::new();
    }
    let mut messages = Vec::new();
    if name.len() > 253 {
        messages.push("must be no more than 253 characters".to_owned());
    }
    if plain.len() <= 253 || messages.is_empty() {
        messages.push(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')"
                .to_owned(),
        );
    }
    messages
}

/// User and group ids.
pub fn id(id: i64) -> Vec<String> {
    if (0..=i64::from(i32::MAX)).contains(&id) {
        Vec::new()
    } else {
        vec![format!("must be between 0 and {}, inclusive", i32::MAX)]
    }
}
