//! Which container of a pod a stream is with.

use keelson_objects::status::StatusError;
use serde_json::Value;

use crate::kinds::fields::Fields;

/// The asked container, or the only one.
pub fn choose(pod: &Value, asked: &str) -> Result<String, StatusError> {
    let spec = pod.sub("spec");
    let name = pod.sub("metadata").text("name");
    let names = |list: &str| spec.items(list).iter().map(|container| container.text("name")).collect::<Vec<_>>();
    let (regular, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if !asked.is_empty() {
        let known = regular.iter().chain(&init).chain(&ephemeral).any(|container| *container == asked);
        return match known {
            true => Ok(asked.to_owned()),
            false => Err(StatusError::bad_request(format!("container {asked} is not valid for pod {name}"))),
        };
    }
    match regular.as_slice() {
        [] => Err(StatusError::bad_request(format!("a container name must be specified for pod {name}"))),
        [only] => Ok((*only).to_owned()),
        several => {
            let mut text =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", several.join(" "));
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            if !ephemeral.is_empty() {
                text.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
            }
            Err(StatusError::bad_request(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_is_chosen_or_asked_for() {
        let one = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}});
        let two = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]}});
        assert_eq!(choose(&one, "").unwrap(), "a");
        assert_eq!(choose(&one, "i").unwrap(), "i");
        assert_eq!(choose(&one, "x").unwrap_err().to_string(), "container x is not valid for pod web");
        assert_eq!(
            choose(&two, "").unwrap_err().to_string(),
            "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(
            choose(&json!({"metadata": {"name": "web"}}), "").unwrap_err().to_string(),
            "a container name must be specified for pod web"
        );
    }
}
