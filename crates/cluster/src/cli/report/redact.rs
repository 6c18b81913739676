//! What of an object goes into a report: of ours all but what may hold a secret, of users' pods only what is named here. PURE.
//!
//! It keeps nothing of a Secret, no token, no key, no value of an environment that is not ours, no annotation of anybody unknown.
//! Addresses and names stay: without them nobody could help.

mod text;

pub(super) use text::clean;

use millrace_core::policy::{INIT, PROXY};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// What stands where something was left out.
pub(super) const LEFT_OUT: &str = "<redacted>";

/// What is left out, for whoever reads a report: in English and in Chinese.
pub(super) const RULES: [(&str, &str); 6] = [
    (
        "Secrets: they are not gathered; of users' pods all but the fields that redirection depends on",
        "Secret:不收集;用户 Pod 只保留与重定向有关的字段",
    ),
    (
        "values of environment variables, but MILLRACE_… in objects of ours",
        "环境变量的值,自身对象中的 MILLRACE_… 除外",
    ),
    (
        "annotations, but those of millrace.dev, Istio, Multus and rollouts; so kubectl's last-applied-configuration",
        "注解,millrace.dev、Istio、Multus 与发布相关的除外;包括 kubectl 的 last-applied-configuration",
    ),
    (
        "commands and arguments of users' containers, but Istio's; probes, hooks, and what applications said when they ended",
        "用户容器的命令与参数 (Istio 的除外)、探针、钩子以及应用退出时的消息",
    ),
    (
        "fields called password, token or the like, and headers of probes",
        "名为 password、token 等的字段,以及探针的请求头",
    ),
    (
        "in every text, logs too: private keys, JSON web tokens, credentials of Authorization headers and of URLs, and passwords, tokens \
         and the like that are given as NAME=VALUE",
        "所有文本 (包括日志) 中的私钥、JSON Web Token、Authorization 请求头与 URL 中的凭据,以及以 NAME=VALUE 给出的密码、令牌等",
    ),
];

/// Whose annotations are kept: the part before the slash, or what it ends with after a dot.
const DOMAINS: [&str; 6] = [
    "millrace.dev",
    "sidecar.istio.io",
    "traffic.sidecar.istio.io",
    "istio.io",
    "k8s.v1.cni.cncf.io",
    "deployment.kubernetes.io",
];
/// Fields that hold a secret by their name, in lower case and without dashes, dots and underscores.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "token",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "bearertoken",
    "clientsecret",
    "secretkey",
    "apikey",
    "accesskey",
    "privatekey",
    "tlskey",
    "cakey",
];
/// Containers whose arguments are Istio's, and say how a pod is redirected.
const ISTIOS: [&str; 3] = [INIT, PROXY, "istio-validation"];

/// An object of ours, or of which nothing but metadata is somebody else's. Of a Secret nothing is left but its name.
pub(super) fn object(object: &Value) -> Value {
    let mut kept = object.clone();
    if kept["kind"] == "Secret"
        && let Some(fields) = kept.as_object_mut()
    {
        fields.retain(|field, _| matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "type"));
    }
    walk(&mut kept);
    kept
}

fn walk(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("managedFields");
            for (name, field) in fields.iter_mut() {
                match (name.as_str(), &mut *field) {
                    ("annotations", Value::Object(all)) => annotations(all),
                    ("env", Value::Array(variables)) => variables.iter_mut().for_each(variable),
                    ("httpHeaders", Value::Array(headers)) => headers.iter_mut().for_each(header),
                    (name, Value::String(text)) if is_secret(name) => *text = LEFT_OUT.to_owned(),
                    _ => {}
                }
                walk(field);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        Value::String(text) => *text = clean(text),
        _ => {}
    }
}

fn annotations(all: &mut Map<String, Value>) {
    for (key, value) in all.iter_mut() {
        if !is_known(key) {
            *value = json!(LEFT_OUT);
        }
    }
}

fn is_known(key: &str) -> bool {
    key.split_once('/').is_some_and(|(domain, _)| DOMAINS.contains(&domain))
}

fn variable(variable: &mut Value) {
    let ours = variable["name"].as_str().is_some_and(|name| name.starts_with("MILLRACE_"));
    if !ours && variable.get("value").is_some() {
        variable["value"] = json!(LEFT_OUT);
    }
}

fn header(header: &mut Value) {
    if header.get("value").is_some() {
        header["value"] = json!(LEFT_OUT);
    }
}

fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    NAMES.contains(&plain.to_ascii_lowercase().as_str())
}

/// What differs in an object, as `drift` tells it: `FIELD: BEFORE → AFTER`, where either may be a whole container.
pub(super) fn detail(line: &str) -> String {
    static VALUE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#""value":"(?:[^"\\]|\\.)*""#).expect("it is a pattern"));
    match line.split_once(": ") {
        Some((field, _)) if is_hidden(field) => format!("{field}: {LEFT_OUT}"),
        _ => clean(&VALUE.replace_all(line, format!(r#""value":"{LEFT_OUT}""#))),
    }
}

/// Whether a field, as `spec.template.metadata.annotations.x`, may hold a secret.
fn is_hidden(field: &str) -> bool {
    field.split('.').any(|part| part == "annotations" || is_secret(part))
}

/// A pod of a user: what its redirection depends on, and how it fares.
pub(super) fn pod(pod: &Value) -> Value {
    let mut kept = json!({ "apiVersion": "v1", "kind": "Pod" });
    kept["metadata"] = metadata(&pod["metadata"], &["ownerReferences"]);
    let mut spec = only(
        &pod["spec"],
        &[
            "nodeName",
            "hostNetwork",
            "hostPID",
            "hostUsers",
            "serviceAccountName",
            "dnsPolicy",
            "restartPolicy",
            "runtimeClassName",
            "securityContext",
        ],
    );
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(&pod["spec"], list, &mut spec, container);
    }
    kept["spec"] = spec;
    let mut status = only(
        &pod["status"],
        &["phase", "reason", "message", "conditions", "hostIP", "podIP", "podIPs", "startTime", "qosClass"],
    );
    for list in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        each(&pod["status"], list, &mut status, container_status);
    }
    kept["status"] = status;
    walk(&mut kept);
    kept
}

/// A node: by what it is chosen, what it runs, and how it is.
pub(super) fn node(node: &Value) -> Value {
    let mut kept = json!({ "metadata": metadata(&node["metadata"], &[]) });
    kept["spec"] = only(&node["spec"], &["taints", "unschedulable", "podCIDRs", "providerID"]);
    kept["status"] = only(&node["status"], &["conditions", "nodeInfo", "addresses"]);
    walk(&mut kept);
    kept
}

/// A namespace: what enrols or excludes it.
pub(super) fn namespace(namespace: &Value) -> Value {
    let mut kept = json!({ "metadata": metadata(&namespace["metadata"], &[]) });
    kept["status"] = only(&namespace["status"], &["phase"]);
    walk(&mut kept);
    kept
}

fn metadata(metadata: &Value, more: &[&str]) -> Value {
    const FIELDS: [&str; 7] =
        ["name", "namespace", "uid", "labels", "annotations", "creationTimestamp", "deletionTimestamp"];
    only(metadata, &[&FIELDS, more].concat())
}

fn container(container: &Value) -> Value {
    let mut kept = only(container, &["name", "image", "ports", "restartPolicy", "securityContext"]);
    let istios = container["name"].as_str().is_some_and(|name| ISTIOS.contains(&name));
    for list in ["command", "args"] {
        if let Some(words) = container[list].as_array() {
            kept[list] = if istios { json!(words) } else { json!([LEFT_OUT]) };
        }
    }
    each(container, "env", &mut kept, |one| only(one, &["name", "value", "valueFrom"]));
    // What an application calls a variable of ours is its own.
    for variable in kept["env"].as_array_mut().into_iter().flatten() {
        if variable.get("value").is_some() {
            variable["value"] = json!(LEFT_OUT);
        }
    }
    if kept["env"].is_null()
        && let Some(fields) = kept.as_object_mut()
    {
        fields.remove("env");
    }
    kept
}

fn container_status(status: &Value) -> Value {
    let mut kept = only(status, &["name", "ready", "started", "restartCount", "containerID", "image"]);
    for state in ["state", "lastState"] {
        let mut seen = json!({});
        for (kind, fields) in [
            ("waiting", &["reason", "message"][..]),
            ("running", &["startedAt"]),
            ("terminated", &["exitCode", "signal", "reason", "startedAt", "finishedAt"]),
        ] {
            if status[state][kind].is_object() {
                seen[kind] = only(&status[state][kind], fields);
            }
        }
        kept[state] = seen;
    }
    kept
}

/// The object's fields of these names, as far as it has them.
fn only(object: &Value, fields: &[&str]) -> Value {
    let of = |field: &&str| object.get(*field).map(|value| ((*field).to_owned(), value.clone()));
    Value::Object(fields.iter().filter_map(of).collect())
}

fn each(from: &Value, list: &str, to: &mut Value, keep: impl Fn(&Value) -> Value) {
    if let Some(items) = from[list].as_array() {
        to[list] = items.iter().map(keep).collect();
    }
}

#[cfg(test)]
mod tests;
