//! The security contexts of a pod and of one of its containers, merged: what the container says wins.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::spec;
use crate::runtime::Security;

pub fn merged(pod: &Pod, container: &Container) -> Security {
    let of_pod = spec::spec(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let mut groups = of_pod.supplemental_groups.unwrap_or_default();
    groups.extend(of_pod.fs_group);
    Security {
        privileged: own.privileged.unwrap_or(false),
        run_as_user: own.run_as_user.or(of_pod.run_as_user),
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        run_as_non_root: own.run_as_non_root.or(of_pod.run_as_non_root).unwrap_or(false),
        supplemental_groups: groups,
        read_only_root_filesystem: own.read_only_root_filesystem.unwrap_or(false),
        allow_privilege_escalation: own.allow_privilege_escalation,
        capabilities_add: capabilities.add.unwrap_or_default(),
        capabilities_drop: capabilities.drop.unwrap_or_default(),
        unmasked_proc: own.proc_mount.as_deref() == Some("Unmasked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_overrides_the_pod() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "securityContext": {"runAsUser": 1000, "runAsNonRoot": true, "fsGroup": 7, "supplementalGroups": [5]},
            "containers": [{"name": "a", "securityContext": {"runAsUser": 2000, "runAsNonRoot": false,
                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}}, {"name": "b"}]
        }}))
        .expect("a pod");
        let containers = spec::app_containers(&pod);
        let a = merged(&pod, &containers[0]);
        assert_eq!((a.run_as_user, a.run_as_non_root, a.supplemental_groups), (Some(2000), false, vec![5, 7]));
        assert_eq!((a.capabilities_add, a.capabilities_drop), (vec!["NET_ADMIN".to_owned()], vec!["ALL".to_owned()]));
        let b = merged(&pod, &containers[1]);
        assert_eq!((b.run_as_user, b.run_as_non_root), (Some(1000), true));
    }
}
