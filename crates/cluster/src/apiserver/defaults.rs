//! PURE: what Kubernetes fills into the built-in kinds where a client said nothing, as far as our clients look at it.

use super::select::LabelSelector;
use serde_json::{Map, Value, json};

/// Quantities may be written as numbers, and are words from then on.
const QUANTITIES: [&str; 7] = ["limits", "requests", "capacity", "allocatable", "hard", "used", "overhead"];

/// Fills in defaults of `kind`. The object was read through its type, so everything in it is of the type it should be.
pub(crate) fn fill(kind: &str, object: &mut Value) {
    match kind {
        "Pod" => {
            pod(&mut object["spec"]);
            put(object, "/status", "phase", &json!("Pending"));
        }
        "Deployment" => {
            put(object, "/spec", "replicas", &json!(1));
            put(object, "/spec", "revisionHistoryLimit", &json!(10));
            put(object, "/spec", "progressDeadlineSeconds", &json!(600));
            put(object, "/spec/strategy", "type", &json!("RollingUpdate"));
            if object["spec"]["strategy"]["type"] == "RollingUpdate" {
                put(object, "/spec/strategy/rollingUpdate", "maxUnavailable", &json!("25%"));
                put(object, "/spec/strategy/rollingUpdate", "maxSurge", &json!("25%"));
            }
            pod(&mut object["spec"]["template"]["spec"]);
        }
        "ReplicaSet" => {
            put(object, "/spec", "replicas", &json!(1));
            pod(&mut object["spec"]["template"]["spec"]);
        }
        "StatefulSet" => {
            put(object, "/spec", "replicas", &json!(1));
            put(object, "/spec", "revisionHistoryLimit", &json!(10));
            put(object, "/spec", "podManagementPolicy", &json!("OrderedReady"));
            put(object, "/spec/updateStrategy", "type", &json!("RollingUpdate"));
            pod(&mut object["spec"]["template"]["spec"]);
        }
        "DaemonSet" => {
            put(object, "/spec", "revisionHistoryLimit", &json!(10));
            put(object, "/spec/updateStrategy", "type", &json!("RollingUpdate"));
            if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
                put(object, "/spec/updateStrategy/rollingUpdate", "maxUnavailable", &json!(1));
                put(object, "/spec/updateStrategy/rollingUpdate", "maxSurge", &json!(0));
            }
            pod(&mut object["spec"]["template"]["spec"]);
        }
        "Job" => job(object),
        "Service" => service(object),
        "Secret" => secret(object),
        "Namespace" => {
            put(object, "/status", "phase", &json!("Active"));
            let name = object["metadata"]["name"].clone();
            put(object, "/metadata/labels", "kubernetes.io/metadata.name", &name);
        }
        "MutatingWebhookConfiguration" => hooks(object, true),
        "ValidatingWebhookConfiguration" => hooks(object, false),
        "CustomResourceDefinition" => definition(object),
        "Role" | "ClusterRole" if object["rules"].is_null() => object["rules"] = json!([]),
        "RoleBinding" | "ClusterRoleBinding" => {
            put(object, "/roleRef", "apiGroup", &json!("rbac.authorization.k8s.io"));
        }
        _ => {}
    }
}

/// What only a new object is given: places that others may empty later.
pub(crate) fn begin(kind: &str, object: &mut Value) {
    match kind {
        "Namespace" => put(object, "/spec", "finalizers", &json!(["kubernetes"])),
        "Pod" => {
            object["status"]["qosClass"] = json!("BestEffort");
        }
        _ => {}
    }
}

/// Puts `value` at `name` of the map at `path`, which is made where it is missing, if nothing is there.
fn put(object: &mut Value, path: &str, name: &str, value: &Value) {
    let mut place = object;
    for step in path.split('/').skip(1).chain([name]) {
        if !place.is_object() {
            if !place.is_null() {
                return;
            }
            *place = Value::Object(Map::new());
        }
        place = &mut place[step];
    }
    if place.is_null() {
        *place = value.clone();
    }
}

fn pod(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    put(spec, "", "restartPolicy", &json!("Always"));
    put(spec, "", "dnsPolicy", &json!("ClusterFirst"));
    put(spec, "", "schedulerName", &json!("default-scheduler"));
    put(spec, "", "terminationGracePeriodSeconds", &json!(30));
    put(spec, "", "enableServiceLinks", &json!(true));
    put(spec, "", "securityContext", &json!({}));
    let account = spec["serviceAccountName"].clone();
    if !account.is_null() {
        put(spec, "", "serviceAccount", &account);
    }
    let shares = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            one_container(container, shares);
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        for source in ["configMap", "secret", "projected", "downwardAPI"] {
            if volume[source].is_object() {
                put(volume, &format!("/{source}"), "defaultMode", &json!(420));
            }
        }
        if volume["hostPath"].is_object() {
            put(volume, "/hostPath", "type", &json!(""));
        }
    }
}

fn one_container(container: &mut Value, shares: bool) {
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit('/').next().unwrap_or_default().split_once(':').map_or("latest", |(_, tag)| tag);
    let pull = if tag == "latest" && !image.contains('@') { "Always" } else { "IfNotPresent" };
    put(container, "", "imagePullPolicy", &json!(pull));
    put(container, "", "terminationMessagePath", &json!("/dev/termination-log"));
    put(container, "", "terminationMessagePolicy", &json!("File"));
    put(container, "", "resources", &json!({}));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        put(port, "", "protocol", &json!("TCP"));
        let number = port["containerPort"].clone();
        if shares {
            put(port, "", "hostPort", &number);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if !container[probe].is_object() {
            continue;
        }
        let path = format!("/{probe}");
        let periods =
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)];
        for (name, value) in periods {
            put(container, &path, name, &json!(value));
        }
        if container[probe]["httpGet"].is_object() {
            put(container, &format!("{path}/httpGet"), "scheme", &json!("HTTP"));
            put(container, &format!("{path}/httpGet"), "path", &json!("/"));
        }
    }
    for variable in container.get_mut("env").and_then(Value::as_array_mut).into_iter().flatten() {
        if variable["valueFrom"]["fieldRef"].is_object() {
            put(variable, "/valueFrom/fieldRef", "apiVersion", &json!("v1"));
        }
    }
}

fn job(object: &mut Value) {
    let (completions, parallelism) =
        (object["spec"]["completions"].is_null(), object["spec"]["parallelism"].is_null());
    if completions && parallelism {
        put(object, "/spec", "completions", &json!(1));
    }
    put(object, "/spec", "parallelism", &json!(1));
    put(object, "/spec", "backoffLimit", &json!(6));
    // The labels by which a job finds its pods are its own: nobody writes them unless he says so.
    let uid = object["metadata"]["uid"].clone();
    if object["spec"]["manualSelector"] != true && uid.is_string() && object["spec"]["selector"].is_null() {
        let name = object["metadata"]["name"].clone();
        object["spec"]["selector"] = json!({"matchLabels": {"controller-uid": uid}});
        put(object, "/spec/template/metadata/labels", "controller-uid", &uid);
        put(object, "/spec/template/metadata/labels", "job-name", &name);
    }
    pod(&mut object["spec"]["template"]["spec"]);
}

fn service(object: &mut Value) {
    put(object, "/spec", "type", &json!("ClusterIP"));
    put(object, "/spec", "sessionAffinity", &json!("None"));
    for port in object["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        put(port, "", "protocol", &json!("TCP"));
        let number = port["port"].clone();
        put(port, "", "targetPort", &number);
    }
    put(object, "", "status", &json!({"loadBalancer": {}}));
}

fn secret(object: &mut Value) {
    put(object, "", "type", &json!("Opaque"));
    let plain = object.as_object_mut().and_then(|object| object.shift_remove("stringData"));
    for (name, text) in plain.as_ref().and_then(Value::as_object).into_iter().flatten() {
        object["data"][name] = base64(text.as_str().unwrap_or_default().as_bytes()).into();
    }
}

/// Base64, as secrets have it; through the type that Kubernetes gives it.
fn base64(bytes: &[u8]) -> String {
    let encoded = serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec()));
    encoded.ok().and_then(|encoded| encoded.as_str().map(str::to_owned)).unwrap_or_default()
}

fn hooks(object: &mut Value, mutating: bool) {
    for hook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        put(hook, "", "failurePolicy", &json!("Fail"));
        put(hook, "", "matchPolicy", &json!("Equivalent"));
        put(hook, "", "timeoutSeconds", &json!(10));
        put(hook, "", "namespaceSelector", &json!({}));
        put(hook, "", "objectSelector", &json!({}));
        if mutating {
            put(hook, "", "reinvocationPolicy", &json!("Never"));
        }
        for rule in hook.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
            put(rule, "", "scope", &json!("*"));
        }
        if hook["clientConfig"]["service"].is_object() {
            put(hook, "/clientConfig/service", "port", &json!(443));
        }
    }
}

fn definition(object: &mut Value) {
    let kind = object["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
    put(object, "/spec/names", "singular", &json!(kind.to_lowercase()));
    put(object, "/spec/names", "listKind", &json!(format!("{kind}List")));
    put(object, "/spec/conversion", "strategy", &json!("None"));
}

/// Makes words of quantities that were written as numbers.
pub(crate) fn quantities(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::Object(amounts) if QUANTITIES.contains(&name.as_str()) => {
                        for amount in amounts.values_mut().filter(|amount| amount.is_number()) {
                            *amount = amount.to_string().into();
                        }
                    }
                    value => quantities(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities),
        _ => {}
    }
}

/// Whether a workload's selector selects its own template.
pub(crate) fn selects_itself(object: &Value) -> bool {
    let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let labels =
        labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect();
    LabelSelector::of(&object["spec"]["selector"]).is_some_and(|selector| selector.matches(&labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, mut object: Value, path: &str, expected: &Value) {
        quantities(&mut object);
        fill(kind, &mut object);
        assert_eq!(object.pointer(path).unwrap_or(&Value::Null), expected, "{kind} {path}");
        let once = object.clone();
        fill(kind, &mut object);
        assert_eq!(object, once, "filling twice");
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let container = json!({"name": "a", "image": "x/y", "ports": [{"containerPort": 80}],
                               "resources": {"limits": {"cpu": 1}}});
        let pod = json!({"spec": {"containers": [container]}});
        check("Pod", pod.clone(), "/spec/restartPolicy", &json!("Always"));
        check("Pod", pod.clone(), "/spec/containers/0/ports/0/protocol", &json!("TCP"));
        check("Pod", pod.clone(), "/spec/containers/0/imagePullPolicy", &json!("Always"));
        check("Pod", pod.clone(), "/spec/containers/0/resources/limits/cpu", &json!("1"));
        check("Pod", pod, "/status/phase", &json!("Pending"));
        check("Deployment", json!({"spec": {}}), "/spec/strategy/rollingUpdate/maxSurge", &json!("25%"));
        check("Secret", json!({"stringData": {"a": "b"}}), "/data/a", &json!("Yg=="));
        check("Service", json!({"spec": {"ports": [{"port": 9}]}}), "/spec/ports/0/targetPort", &json!(9));
        let hook = json!({"webhooks": [{"rules": [{}]}]});
        check("MutatingWebhookConfiguration", hook, "/webhooks/0/rules/0/scope", &json!("*"));
    }
}
