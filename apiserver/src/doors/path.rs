//! What a URL path is about.

use std::borrow::Cow;

/// A path that names a resource, with its segments decoded.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct ResourcePath<'a> {
    pub group: Cow<'a, str>,
    pub version: Cow<'a, str>,
    pub resource: Cow<'a, str>,
    pub namespace: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub subresource: Cow<'a, str>,
    /// What follows the subresource (`proxy/...`).
    pub rest: Cow<'a, str>,
    /// The old `/api/v1/watch/...` form.
    pub watch: bool,
}

/// Subresources of a Namespace itself; everything else behind `namespaces/<name>/` is a resource in it.
const OF_NAMESPACE: &[&str] = &["status", "finalize"];

/// None: the path is no resource's (discovery, health, ...).
pub(super) fn parse(path: &str) -> Option<ResourcePath<'_>> {
    let mut rest = path.strip_prefix('/')?;
    let mut next = || {
        let (segment, behind) = rest.split_once('/').unwrap_or((rest, ""));
        rest = behind;
        segment
    };
    let (group, version) = match next() {
        "api" => ("", next()),
        "apis" => (next(), next()),
        _ => return None,
    };
    let mut segment = next();
    let watch = segment == "watch";
    if watch {
        segment = next();
    }
    if version.is_empty() || segment.is_empty() {
        return None;
    }
    let mut found = ResourcePath { group: decode(group), version: decode(version), watch, ..ResourcePath::default() };
    if segment == "namespaces" {
        let name = next();
        let behind = next();
        if behind.is_empty() || (OF_NAMESPACE.contains(&behind) && rest.is_empty()) {
            found.resource = "namespaces".into();
            found.name = decode(name);
            found.subresource = decode(behind);
            return Some(found);
        }
        found.namespace = decode(name);
        found.resource = decode(behind);
        (found.name, found.subresource, found.rest) = tail(rest);
        return Some(found);
    }
    found.resource = decode(segment);
    (found.name, found.subresource, found.rest) = tail(rest);
    Some(found)
}

fn tail(rest: &str) -> (Cow<'_, str>, Cow<'_, str>, Cow<'_, str>) {
    let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let (subresource, rest) = rest.split_once('/').unwrap_or((rest, ""));
    (decode(name), decode(subresource), decode(rest))
}

/// Percent-decodes; what is no valid escape stays as it is.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(percent_decoded(text.as_bytes()))
}

fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let escape = (text[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        let byte = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                at += 3;
            }
            None => {
                bytes.push(text[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources() {
        // path, group, version, namespace, resource, name, subresource, rest
        let table = [
            ("/api/v1/pods", ["", "v1", "", "pods", "", "", ""]),
            ("/api/v1/namespaces/a/pods/b/log", ["", "v1", "a", "pods", "b", "log", ""]),
            ("/api/v1/namespaces", ["", "v1", "", "namespaces", "", "", ""]),
            ("/api/v1/namespaces/a", ["", "v1", "", "namespaces", "a", "", ""]),
            ("/api/v1/namespaces/a/finalize", ["", "v1", "", "namespaces", "a", "finalize", ""]),
            ("/apis/apps/v1/namespaces/a/deployments/d/scale", ["apps", "v1", "a", "deployments", "d", "scale", ""]),
            ("/api/v1/nodes/n/proxy/logs/x", ["", "v1", "", "nodes", "n", "proxy", "logs/x"]),
            ("/api/v1/namespaces/a/configmaps/x%3Ay", ["", "v1", "a", "configmaps", "x:y", "", ""]),
        ];
        for (path, expected) in table {
            let found = parse(path).unwrap();
            let fields = [
                &found.group,
                &found.version,
                &found.namespace,
                &found.resource,
                &found.name,
                &found.subresource,
                &found.rest,
            ];
            assert_eq!(fields.map(|field| field.as_ref()), expected, "{path}");
        }
        assert!(parse("/api/v1/watch/pods").unwrap().watch);
        for path in ["/", "/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz", "/openapi/v2"] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
