//! When a pod has to leave a node because of NoExecute taints.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use super::taints::NO_EXECUTE;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stay {
    /// Nothing drives it away, or it tolerates what does for ever.
    ForEver,
    /// It tolerates for so long, counted from when the taint was first seen.
    For(Duration),
    /// It has to go now.
    Not,
}

/// How long the pod may stay under these taints.
pub fn judge(pod: &Pod, taints: &[Taint]) -> Stay {
    let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default();
    let mut shortest: Option<i64> = None;
    for taint in taints.iter().filter(|taint| taint.effect == NO_EXECUTE) {
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Stay::Not;
        };
        if let Some(seconds) = toleration.toleration_seconds {
            shortest = Some(shortest.map_or(seconds, |shortest| shortest.min(seconds)));
        }
    }
    match shortest {
        None => Stay::ForEver,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds) if seconds > 0 => Stay::For(Duration::from_secs(seconds)),
            _ => Stay::Not,
        },
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let said = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
    if said(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    if said(&toleration.key).is_some_and(|key| key != taint.key) {
        return false;
    }
    match said(&toleration.operator).as_deref() {
        None | Some("Equal") => {
            toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        Some("Exists") => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodSpec;

    use super::*;

    fn toleration(key: &str, operator: &str, seconds: Option<i64>) -> Toleration {
        Toleration {
            key: Some(key.into()).filter(|key: &String| !key.is_empty()),
            operator: Some(operator.into()),
            effect: Some(NO_EXECUTE.into()),
            toleration_seconds: seconds,
            value: None,
        }
    }

    #[test]
    fn stays() {
        let seconds = |seconds| Stay::For(Duration::from_secs(seconds));
        let cases = [
            (vec![], vec!["a"], Stay::Not),
            (vec![], vec![], Stay::ForEver),
            (vec![toleration("a", "Exists", None)], vec!["a"], Stay::ForEver),
            (vec![toleration("a", "Exists", Some(300))], vec!["a"], seconds(300)),
            (vec![toleration("a", "Exists", Some(0))], vec!["a"], Stay::Not),
            (vec![toleration("a", "Exists", Some(-1))], vec!["a"], Stay::Not),
            (vec![toleration("a", "Exists", Some(300))], vec!["a", "b"], Stay::Not),
            (
                vec![toleration("a", "Exists", Some(300)), toleration("b", "Exists", Some(20))],
                vec!["a", "b"],
                seconds(20),
            ),
            (vec![toleration("", "Exists", None)], vec!["a", "b"], Stay::ForEver),
            (vec![toleration("a", "Equal", None)], vec!["a"], Stay::ForEver),
        ];
        for (tolerations, taints, expected) in cases {
            let taints: Vec<Taint> = taints
                .into_iter()
                .map(|key| Taint { key: key.into(), effect: NO_EXECUTE.into(), ..Default::default() })
                .collect();
            let spec = PodSpec { tolerations: Some(tolerations.clone()), ..Default::default() };
            let pod = Pod { spec: Some(spec), ..Default::default() };
            assert_eq!(judge(&pod, &taints), expected, "{tolerations:?} {taints:?}");
        }
    }

    #[test]
    fn other_effects_drive_nobody_away() {
        let taint = Taint { key: "a".into(), effect: "NoSchedule".into(), ..Default::default() };
        assert_eq!(judge(&Pod::default(), &[taint]), Stay::ForEver);
    }
}
