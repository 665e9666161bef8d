//! Adoption and release: who an object belongs to, by selector and by controller reference.
//!
//! An owner claims what its selector matches and nobody controls (adopt), keeps what it controls and still matches,
//! and lets go of what it controls and no longer matches (release). The decision is pure; the callers patch.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use crate::meta;

/// The owner that claims: its metadata, kind and selector.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a> {
    pub meta: &'a ObjectMeta,
    pub api_version: &'static str,
    pub kind: &'static str,
    pub selector: &'a LabelSelector,
}

/// What to do about one object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// It is the claimant's.
    Keep,
    /// It is nobody's and fits: make it the claimant's.
    Adopt,
    /// It is the claimant's and no longer fits: let it go.
    Release,
    /// It is none of the claimant's business.
    Ignore,
}

/// Judges one object of the claimant's namespace.
pub fn judge(claimant: Claimant<'_>, object: &ObjectMeta) -> Claim {
    let fits = meta::selects(claimant.selector, object.labels.as_ref());
    let claimant_is_leaving = claimant.meta.deletion_timestamp.is_some();
    match meta::controller_of(object) {
        Some(owner) if owner.uid != meta::uid(claimant.meta) => Claim::Ignore,
        Some(_) if fits => Claim::Keep,
        // An owner that is being deleted releases nothing: the garbage collector follows its references.
        Some(_) if claimant_is_leaving => Claim::Ignore,
        Some(_) => Claim::Release,
        None if claimant_is_leaving || !fits => Claim::Ignore,
        None if object.deletion_timestamp.is_some() => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// The reference that makes an object the claimant's.
pub fn controller_reference(owner: &ObjectMeta, api_version: &str, kind: &str) -> OwnerReference {
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: meta::name(owner).to_owned(),
        uid: meta::uid(owner).to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A strategic merge patch that adopts the object with this uid.
pub fn adopt_patch(claimant: Claimant<'_>, object: &ObjectMeta) -> Value {
    let reference = controller_reference(claimant.meta, claimant.api_version, claimant.kind);
    json!({"metadata": {"ownerReferences": [reference], "uid": meta::uid(object)}})
}

/// A strategic merge patch that drops the claimant's reference from the object with this uid.
pub fn release_patch(claimant: Claimant<'_>, object: &ObjectMeta) -> Value {
    json!({"metadata": {
        "ownerReferences": [{"$patch": "delete", "uid": meta::uid(claimant.meta)}],
        "uid": meta::uid(object),
    }})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;

    fn labelled(value: &str) -> Option<BTreeMap<String, String>> {
        Some(BTreeMap::from([("app".to_owned(), value.to_owned())]))
    }

    fn owned_by(uid: &str) -> Option<Vec<OwnerReference>> {
        Some(vec![OwnerReference { uid: uid.to_owned(), controller: Some(true), ..Default::default() }])
    }

    #[test]
    fn claims() {
        let leaving = Some(meta::time(Timestamp::UNIX_EPOCH));
        // (owner is leaving, object's label, object's controller, object is leaving) -> claim
        let cases = [
            (false, "web", Some("me"), false, Claim::Keep),
            (false, "web", Some("me"), true, Claim::Keep),
            (false, "web", None, false, Claim::Adopt),
            (false, "web", None, true, Claim::Ignore),
            (false, "db", None, false, Claim::Ignore),
            (false, "db", Some("me"), false, Claim::Release),
            (false, "web", Some("other"), false, Claim::Ignore),
            (true, "web", None, false, Claim::Ignore),
            (true, "db", Some("me"), false, Claim::Ignore),
            (true, "web", Some("me"), false, Claim::Keep),
        ];
        let selector = LabelSelector { match_labels: labelled("web"), ..Default::default() };
        for (owner_leaving, label, controller, object_leaving, expected) in cases {
            let owner = ObjectMeta {
                uid: Some("me".into()),
                deletion_timestamp: leaving.clone().filter(|_| owner_leaving),
                ..Default::default()
            };
            let object = ObjectMeta {
                labels: labelled(label),
                owner_references: controller.and_then(owned_by),
                deletion_timestamp: leaving.clone().filter(|_| object_leaving),
                ..Default::default()
            };
            let claimant = Claimant { meta: &owner, api_version: "apps/v1", kind: "ReplicaSet", selector: &selector };
            assert_eq!(judge(claimant, &object), expected, "{owner_leaving} {label} {controller:?} {object_leaving}");
        }
    }
}
