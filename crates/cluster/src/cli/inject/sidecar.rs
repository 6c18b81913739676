//! A sidecar added to a pod as an injector does it, so that a manifest can be tried where there is no injector.
//!
//! It puts parts beside parts; what the parts do is whoever wrote them's.

use millrace_core::status::STATUS_ANNOTATION;
use serde_json::{Map, Value, json};

/// Istio's own sidecar in outline: it starts, is redirected to, and wants istiod for the rest.
pub(super) const BUILT_IN: &str = include_str!("sidecar.yaml");

/// Adds the parts: what the pod states itself stays, and the injector's note lists what was added.
pub(super) fn add(pod: &mut Value, sidecar: &Value) {
    let mut status = Map::new();
    for list in ["initContainers", "containers", "volumes"] {
        let added = sidecar["spec"][list].as_array().cloned().unwrap_or_default();
        let names = added.iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
        if names.is_empty() {
            continue;
        }
        status.insert(list.to_owned(), names.into());
        // A native sidecar is there for the init containers behind it; without one they run before anything redirects.
        let first = list == "initContainers" && added.iter().any(|one| one["restartPolicy"] == "Always");
        let held = &mut pod["spec"][list];
        let own = held.as_array().cloned().unwrap_or_default();
        *held = if first { [added, own].concat() } else { [own, added].concat() }.into();
    }
    for map in ["labels", "annotations"] {
        for (name, text) in sidecar["metadata"][map].as_object().into_iter().flatten() {
            state(pod, map, name, text);
        }
    }
    state(pod, "annotations", STATUS_ANNOTATION, &json!(Value::Object(status).to_string()));
}

fn state(pod: &mut Value, map: &str, name: &str, text: &Value) {
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    let held = &mut pod["metadata"][map];
    if !held.is_object() {
        *held = json!({});
    }
    if held.get(name).is_none() {
        held[name] = text.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the pod's init containers, containers and volumes after the built-in sidecar was added.
    fn check(pod: Value, native: bool, expected: [&str; 3]) -> Value {
        let mut sidecar: Value = serde_saphyr::from_str(BUILT_IN).expect("YAML");
        if native {
            let proxy = json!({ "name": "istio-proxy", "restartPolicy": "Always" });
            sidecar = json!({ "spec": { "initContainers": [{ "name": "istio-init" }, proxy] } });
        }
        let mut pod = pod;
        add(&mut pod, &sidecar);
        let names = |list: &str| {
            let list = pod["spec"][list].as_array().into_iter().flatten();
            list.filter_map(|one| one["name"].as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(["initContainers", "containers", "volumes"].map(names), expected, "{pod:#}");
        pod
    }

    #[test]
    fn parts_stand_where_an_injector_puts_them() {
        let plain = json!({ "spec": { "containers": [{ "name": "app" }] } });
        let pod = check(plain, false, ["istio-init", "app istio-proxy", "istio-envoy"]);
        let status = pod["metadata"]["annotations"][STATUS_ANNOTATION].as_str();
        let listed =
            r#"{"initContainers":["istio-init"],"containers":["istio-proxy"],"volumes":["istio-envoy"]}"#;
        assert_eq!(status, Some(listed));
        let with = |annotations: Value| {
            json!({ "metadata": { "annotations": annotations }, "spec": {
                "initContainers": [{ "name": "migrate" }], "containers": [{ "name": "app" }], "volumes": [{ "name": "tmp" }] } })
        };
        check(with(json!(null)), false, ["migrate istio-init", "app istio-proxy", "tmp istio-envoy"]);
        let pod = check(
            with(json!({ STATUS_ANNOTATION: "mine" })),
            true,
            ["istio-init istio-proxy migrate", "app", "tmp"],
        );
        assert_eq!(pod["metadata"]["annotations"][STATUS_ANNOTATION], "mine");
    }
}
