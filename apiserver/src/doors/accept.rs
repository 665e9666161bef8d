//! Content negotiation: which encoding and which view of the objects a client wants.

use keelson_objects::status::StatusError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

impl Encoding {
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// The objects as they are.
    Plain,
    /// meta.k8s.io Table of this version.
    Table(&'static str),
    /// PartialObjectMetadata and its list.
    Metadata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepted {
    pub encoding: Encoding,
    pub view: View,
}

const DEFAULT: Accepted = Accepted { encoding: Encoding::Json, view: View::Plain };
const OFFERED: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The first clause that can be served, in the client's order of preference.
pub(super) fn negotiate(accept: &str) -> Result<Accepted, StatusError> {
    let accept = accept.trim();
    if accept.is_empty() || accept == "*/*" || accept == "application/json" {
        return Ok(DEFAULT);
    }
    let mut clauses: Vec<(f32, &str)> = accept.split(',').map(|clause| (quality(clause), clause)).collect();
    // Stable: equal weights keep their order.
    clauses.sort_by(|left, right| right.0.total_cmp(&left.0));
    clauses.iter().find_map(|(_, clause)| accepted(clause)).ok_or_else(|| StatusError::not_acceptable(OFFERED))
}

fn quality(clause: &str) -> f32 {
    let weight = parameters(clause).find(|(name, _)| *name == "q").and_then(|(_, value)| value.parse().ok());
    weight.unwrap_or(1.0)
}

fn parameters(clause: &str) -> impl Iterator<Item = (&str, &str)> {
    clause.split(';').skip(1).filter_map(|part| part.trim().split_once('='))
}

fn accepted(clause: &str) -> Option<Accepted> {
    let encoding = match clause.split(';').next()?.trim() {
        "application/json" | "*/*" | "application/*" => Encoding::Json,
        "application/yaml" => Encoding::Yaml,
        "application/vnd.kubernetes.protobuf" => Encoding::Protobuf,
        _ => return None,
    };
    let find = |wanted: &str| parameters(clause).find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let view = match (find("as"), find("g"), find("v")) {
        (None, ..) => View::Plain,
        (Some("Table"), Some("meta.k8s.io"), Some("v1")) => View::Table("v1"),
        (Some("Table"), Some("meta.k8s.io"), Some("v1beta1")) => View::Table("v1beta1"),
        (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) => {
            View::Metadata
        }
        // An unknown view: the next clause may be served.
        _ => return None,
    };
    Some(Accepted { encoding, view })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_tried_in_order() {
        let table = [
            ("", Encoding::Json, View::Plain),
            ("*/*", Encoding::Json, View::Plain),
            ("application/vnd.kubernetes.protobuf,application/json", Encoding::Protobuf, View::Plain),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Encoding::Json,
                View::Table("v1"),
            ),
            ("application/json;as=Thing;v=v9;g=meta.k8s.io, application/json", Encoding::Json, View::Plain),
            ("application/json;q=0.5, application/yaml", Encoding::Yaml, View::Plain),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Encoding::Protobuf,
                View::Metadata,
            ),
            ("application/json;stream=watch", Encoding::Json, View::Plain),
            ("text/html, */*;q=0.1", Encoding::Json, View::Plain),
        ];
        for (accept, encoding, view) in table {
            assert_eq!(negotiate(accept).unwrap(), Accepted { encoding, view }, "{accept}");
        }
        assert_eq!(negotiate("text/html").unwrap_err().code(), 406);
    }
}
