//! PURE: what an object of a built-in kind must have, and what of it may not change: the rules our clients can run into.

mod hooks;

use super::defaults::selects_itself;
use super::names::{self, Naming, complaint};
use super::refusal::Fault;
use super::registry::schema::Schema;
use super::registry::{Kind, Model};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is wrong with `new`, that was `old`.
pub(crate) fn faults(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let empty = serde_json::Map::new();
    let metadata = new["metadata"].as_object().unwrap_or(&empty);
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    if old.is_none() {
        match complaint(kind.naming, name) {
            _ if name.is_empty() => {
                faults.push(Fault::required("metadata.name", "name or generateName is required"));
            }
            Some(why) => faults.push(Fault::invalid("metadata.name", &name.into(), &why)),
            None => {}
        }
    }
    faults.extend(names::faults(metadata));
    for finalizer in metadata.get("finalizers").and_then(Value::as_array).into_iter().flatten() {
        if let Some(why) = names::qualified(finalizer.as_str().unwrap_or_default()) {
            faults.push(Fault::invalid("metadata.finalizers", finalizer, &why));
        }
    }
    faults.extend(owners(new));
    match &kind.model {
        Model::Structural(schema) => faults.extend(schema.faults(new, old)),
        Model::Typed(_) => faults.extend(built_in(&kind.kind, new, old)),
    }
    faults
}

fn owners(new: &Value) -> Vec<Fault> {
    let owners = new.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let mut faults = Vec::new();
    for owner in owners.into_iter().flatten() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                let field = format!("metadata.ownerReferences.{field}");
                faults.push(Fault::invalid(field.clone(), &owner[field], "must not be empty"));
            }
        }
    }
    let controllers = owners.into_iter().flatten().filter(|owner| owner["controller"] == true);
    if controllers.count() > 1 {
        let why = "Only one reference can have Controller set to true";
        faults.push(Fault::invalid("metadata.ownerReferences", &new["metadata"]["ownerReferences"], why));
    }
    faults
}

fn built_in(kind: &str, new: &Value, old: Option<&Value>) -> Vec<Fault> {
    match kind {
        "Pod" => {
            let mut faults = pod_spec(&new["spec"], "spec");
            faults.extend(old.and_then(|old| pod_change(&old["spec"], &new["spec"])));
            faults
        }
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" | "Job" => workload(kind, new, old),
        "Service" => service(new),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => hooks::faults(new),
        "CustomResourceDefinition" => definition(new),
        "RoleBinding" | "ClusterRoleBinding" => {
            let changed = old.is_some_and(|old| old["roleRef"] != new["roleRef"]);
            let fault = Fault::invalid("roleRef", &new["roleRef"], "cannot change roleRef");
            if changed { vec![fault] } else { Vec::new() }
        }
        "ConfigMap" | "Secret" => {
            let fixed = old.is_some_and(|old| old["immutable"] == true);
            let changed = fixed && old.is_some_and(|old| old["data"] != new["data"]);
            let fault = Fault::forbidden("data", "field is immutable when `immutable` is set");
            if changed { vec![fault] } else { Vec::new() }
        }
        _ => Vec::new(),
    }
}

fn pod_spec(spec: &Value, path: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let list = |name: &str| spec[name].as_array().map_or(&[][..], Vec::as_slice);
    if list("containers").is_empty() {
        faults.push(Fault::required(format!("{path}.containers"), ""));
    }
    let mut seen = BTreeSet::new();
    for kind in ["initContainers", "containers"] {
        for (at, container) in list(kind).iter().enumerate() {
            let path = format!("{path}.{kind}[{at}]");
            let name = container["name"].as_str().unwrap_or_default();
            if name.is_empty() {
                faults.push(Fault::required(format!("{path}.name"), ""));
            } else if let Some(why) = complaint(Naming::Label, name) {
                faults.push(Fault::invalid(format!("{path}.name"), &name.into(), &why));
            } else if !seen.insert(name) {
                faults.push(Fault::duplicate(format!("{path}.name"), &name.into()));
            }
            if container["image"].as_str().unwrap_or_default().is_empty() {
                faults.push(Fault::required(format!("{path}.image"), ""));
            }
            for (nth, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
                if !list("volumes").iter().any(|volume| volume["name"] == mount["name"]) {
                    let field = format!("{path}.volumeMounts[{nth}].name");
                    let why = format!("Not found: {}", mount["name"]);
                    faults.push(Fault { field, reason: "FieldValueNotFound", message: why });
                }
            }
        }
    }
    let policies = ["Always", "OnFailure", "Never"];
    if let Some(policy) = spec["restartPolicy"].as_str().filter(|policy| !policies.contains(policy)) {
        let known: Vec<String> = policies.iter().map(|policy| format!("\"{policy}\"")).collect();
        faults.push(Fault::unsupported(format!("{path}.restartPolicy"), &policy.into(), &known));
    }
    faults
}

/// A pod's spec is what it was started with: little of it may change.
fn pod_change(old: &Value, new: &Value) -> Option<Fault> {
    let fixed = |spec: &Value| {
        let mut spec = spec.clone();
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        for free in
            ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "ephemeralContainers"]
        {
            spec[free] = Value::Null;
        }
        spec
    };
    let bound = |spec: &Value| spec["nodeName"].as_str().unwrap_or_default().to_owned();
    let (mut was, mut is) = (fixed(old), fixed(new));
    // Binding is what a scheduler does once.
    if bound(old).is_empty() {
        (was["nodeName"], is["nodeName"]) = (Value::Null, Value::Null);
    }
    let why = "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, \
               `spec.activeDeadlineSeconds` or `spec.tolerations` (only additions to existing tolerations)";
    (was != is).then(|| Fault::forbidden("spec", why))
}

fn workload(kind: &str, new: &Value, old: Option<&Value>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let selector = &new["spec"]["selector"];
    let empty = selector.as_object().is_none_or(serde_json::Map::is_empty);
    if empty {
        faults.push(Fault::required("spec.selector", ""));
    } else if !selects_itself(new) {
        let labels = &new["spec"]["template"]["metadata"]["labels"];
        let why = "`selector` does not match template `labels`";
        faults.push(Fault::invalid("spec.template.metadata.labels", labels, why));
    }
    if old.is_some_and(|old| old["spec"]["selector"] != *selector) {
        faults.push(Fault::invalid("spec.selector", selector, "field is immutable"));
    }
    if new["spec"]["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
        let why = "must be greater than or equal to 0";
        faults.push(Fault::invalid("spec.replicas", &new["spec"]["replicas"], why));
    }
    faults.extend(pod_spec(&new["spec"]["template"]["spec"], "spec.template.spec"));
    let policy = &new["spec"]["template"]["spec"]["restartPolicy"];
    if kind != "Job" && policy != "Always" {
        let field = "spec.template.spec.restartPolicy";
        faults.push(Fault::unsupported(field, policy, &["\"Always\"".to_owned()]));
    }
    if kind == "Job" && policy == "Always" {
        let known = ["\"OnFailure\"".to_owned(), "\"Never\"".to_owned()];
        faults.push(Fault::unsupported("spec.template.spec.restartPolicy", policy, &known));
    }
    faults
}

fn service(new: &Value) -> Vec<Fault> {
    let ports = new["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let mut faults = Vec::new();
    let headless = new["spec"]["clusterIP"] == "None" || new["spec"]["type"] == "ExternalName";
    if ports.is_empty() && !headless {
        faults.push(Fault::required("spec.ports", ""));
    }
    for (at, port) in ports.iter().enumerate() {
        if !port["port"].as_i64().is_some_and(|port| (1..65536).contains(&port)) {
            let why = "must be between 1 and 65535, inclusive";
            faults.push(Fault::invalid(format!("spec.ports[{at}].port"), &port["port"], why));
        }
        if ports.len() > 1 && port["name"].as_str().unwrap_or_default().is_empty() {
            faults.push(Fault::required(format!("spec.ports[{at}].name"), ""));
        }
    }
    faults
}

fn definition(new: &Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    let spec = &new["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let wanted = format!("{}.{}", text(&spec["names"]["plural"]), text(&spec["group"]));
    if new["metadata"]["name"] != wanted.as_str() {
        let why = "must be spec.names.plural+\".\"+spec.group";
        faults.push(Fault::invalid("metadata.name", &new["metadata"]["name"], why));
    }
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        faults.push(Fault::invalid("spec.versions", &spec["versions"], why));
    }
    for (at, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{at}].schema.openAPIV3Schema");
        let schema = &version["schema"]["openAPIV3Schema"];
        if schema["type"] != "object" && schema["x-kubernetes-preserve-unknown-fields"] != true {
            faults.push(Fault::required(path, "schemas are required"));
        } else {
            faults.extend(Schema::read(schema).complaints(&path));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::registry::Registry;
    use serde_json::json;

    fn check(path: (&str, &str), new: &Value, old: Option<&Value>, expected: &[&str]) {
        let registry = Registry::new(std::iter::empty());
        let kind = registry.find(path.0, "v1", path.1).unwrap().kind;
        let found: Vec<String> = faults(&kind, new, old).into_iter().map(|fault| fault.field).collect();
        assert_eq!(found, expected);
    }

    fn pod(container: &Value) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"containers": [container]}})
    }

    #[test]
    fn what_is_wrong_is_named() {
        let pods = ("", "pods");
        let well = pod(&json!({"name": "a", "image": "x"}));
        check(pods, &well, None, &[]);
        check(
            pods,
            &pod(&json!({"name": "A"})),
            None,
            &["spec.containers[0].name", "spec.containers[0].image"],
        );
        check(pods, &json!({"metadata": {"name": "A_"}}), None, &["metadata.name", "spec.containers"]);
        check(pods, &pod(&json!({"name": "a", "image": "y"})), Some(&well), &[]);
        check(pods, &pod(&json!({"name": "b", "image": "x"})), Some(&well), &["spec"]);
        let mut bound = well.clone();
        bound["spec"]["nodeName"] = "n".into();
        check(pods, &bound, Some(&well), &[]);
        check(pods, &well, Some(&bound), &["spec"]);
        let labels = json!({"metadata": {"name": "a", "labels": {"a b": "c"}}});
        check(("", "configmaps"), &labels, None, &["metadata.labels"]);
    }

    #[test]
    fn workloads_select_their_own() {
        let deployment = |selector: &Value| {
            let template = json!({"metadata": {"labels": {"a": "b"}},
                "spec": {"restartPolicy": "Always", "containers": [{"name": "a", "image": "x"}]}});
            json!({"metadata": {"name": "a"}, "spec": {"selector": selector, "template": template}})
        };
        let path = ("apps", "deployments");
        let well = deployment(&json!({"matchLabels": {"a": "b"}}));
        check(path, &well, None, &[]);
        check(path, &deployment(&json!({})), None, &["spec.selector"]);
        let other = deployment(&json!({"matchLabels": {"a": "c"}}));
        check(path, &other, None, &["spec.template.metadata.labels"]);
        check(path, &other, Some(&well), &["spec.template.metadata.labels", "spec.selector"]);
    }
}
