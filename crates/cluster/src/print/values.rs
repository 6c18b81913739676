//! What a user of the chart may set: one table, printed as `values.yaml` and as `values.schema.json`.
//!
//! Data and its two forms; the controller's chart has a table of its own.

use super::config;
use super::daemonset::{METRICS, PRIORITY};
use super::words::{NAMESPACE, REPOSITORY};
use super::yaml::{self, Node};
use crate::args::print::{Platform, Profile};
use serde_json::{Map, Value, json};

/// One setting: where it is (at most one dot), its default, what it may be, and what it is for.
pub(super) struct Setting {
    pub(super) path: &'static str,
    pub(super) default: Value,
    pub(super) schema: Value,
    pub(super) about: &'static str,
}

/// `values.yaml`.
pub(super) fn values(settings: Vec<Setting>) -> String {
    let mut text = format!("# {}\n", super::MADE);
    let mut group = "";
    for Setting { path, default, about, .. } in settings {
        let (parent, key) = path.split_once('.').unwrap_or(("", path));
        let margin = if parent.is_empty() { "" } else { "  " };
        if parent != group && !parent.is_empty() {
            text.push_str(&format!("{parent}:\n"));
        }
        group = parent;
        let entry = yaml::lines(&Node::of(&json!({ key: default })), "Values");
        let about = about.lines().map(|line| format!("# {line}"));
        about.chain(entry).for_each(|line| text.push_str(&format!("{margin}{line}\n")));
    }
    text
}

/// `values.schema.json`.
pub(super) fn schema(settings: Vec<Setting>) -> String {
    let mut top = Map::new();
    for Setting { path, schema, about, .. } in settings {
        let mut schema = schema;
        schema["description"] = about.replace('\n', " ").into();
        match path.split_once('.') {
            None => drop(top.insert(path.to_owned(), schema)),
            Some((parent, key)) => {
                let group = top.entry(parent).or_insert_with(|| object(Map::new()));
                group["properties"][key] = schema;
            }
        }
    }
    // What Helm itself hands to a chart that is part of another.
    top.insert("global".to_owned(), json!({ "type": "object" }));
    let mut whole = object(top);
    whole["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    format!("{whole:#}\n")
}

fn object(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

/// The settings of the agents' chart.
pub(super) fn settings() -> Vec<Setting> {
    let mut all = choices();
    all.extend(image());
    all.extend(agent());
    all.extend(install());
    all.extend(audit());
    all.extend(mesh());
    all.extend(pod());
    all
}

fn one_of(names: &[&str]) -> Value {
    json!({ "enum": names })
}

pub(super) fn text(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn choices() -> Vec<Setting> {
    let profiles = Profile::ALL.map(Profile::name);
    let platforms = Platform::ALL.map(Platform::name);
    vec![
        Setting {
            path: "profile",
            default: Profile::default().name().into(),
            schema: one_of(&profiles),
            about: "zero: no capability, reads only. audit: also looks into pods and repairs or evicts them.",
        },
        Setting {
            path: "platform",
            default: Platform::default().name().into(),
            schema: one_of(&platforms),
            about: "Where things are on the nodes: kubeadm, gke, eks, aks, k3s, rke2, microk8s, openshift,\n\
                    bottlerocket or talos.",
        },
    ]
}

/// Which image, and how it is had.
pub(super) fn image() -> Vec<Setting> {
    vec![
        Setting {
            path: "image.repository",
            default: REPOSITORY.into(),
            schema: text("."),
            about: "The image; the default is what `make image` makes.",
        },
        Setting {
            path: "image.tag",
            default: "".into(),
            schema: json!({ "type": "string" }),
            about: "Without it the chart's version.",
        },
        Setting {
            path: "image.digest",
            default: "".into(),
            schema: text("^(sha256:[0-9a-f]{64})?$"),
            about: "With it the tag is only for people.",
        },
        Setting {
            path: "image.pullPolicy",
            default: "IfNotPresent".into(),
            schema: one_of(&["Always", "IfNotPresent", "Never"]),
            about: "When it is pulled.",
        },
        Setting {
            path: "imagePullSecrets",
            default: json!([]),
            schema: json!({ "type": "array", "items": { "type": "object" } }),
            about: "Secrets to pull it with.",
        },
    ]
}

fn agent() -> Vec<Setting> {
    let config = config::config(Profile::Zero, Platform::Kubeadm);
    let setting = |path, default: Value, schema, about| Setting { path, default, schema, about };
    vec![
        setting(
            "excludeNamespaces",
            json!(["kube-system", NAMESPACE]),
            json!({ "type": "array", "maxItems": 4096, "items": { "type": "string", "minLength": 1, "maxLength": 63 } }),
            "Pods in these keep istio-init.",
        ),
        setting(
            "failurePolicy",
            config["failurePolicy"].clone(),
            one_of(&["Closed", "Open"]),
            "Closed: a mesh pod whose decision cannot be had does not start. Open: it starts unprotected.",
        ),
        setting(
            "backend",
            config["backend"].clone(),
            one_of(&["auto", "iptables", "nftables", "iptables-text"]),
            "How rules get into the kernel.",
        ),
        setting(
            "agentTimeout",
            config["agentTimeout"].clone(),
            text("^[0-9]+(ms|s)$"),
            "How long the start of a pod goes on asking for the agent; at most 100s.",
        ),
        setting(
            "statusGating",
            config["statusGating"].clone(),
            json!({ "type": "boolean" }),
            "Whether a node counts as not ready for pods while its agent is away (CNI 1.1.0 lists only).",
        ),
    ]
}

fn install() -> Vec<Setting> {
    let path = || text("^(/.*)?$");
    let setting = |path, default: Value, schema, about| Setting { path, default, schema, about };
    vec![
        setting(
            "install.way",
            "".into(),
            one_of(&["", "in-place", "own-list", "auxiliary"]),
            "The way into the chain; without it by who owns the list.",
        ),
        setting(
            "install.confDir",
            "".into(),
            path(),
            "Where the runtime looks for lists; without it the platform's.",
        ),
        setting(
            "install.binDir",
            "".into(),
            path(),
            "Where it looks for plugins; without it the platform's.",
        ),
        setting(
            "install.runtimeDir",
            "".into(),
            path(),
            "Where its configuration is; without it the platform's.",
        ),
        setting(
            "install.list",
            "".into(),
            text("^[^/]*$"),
            "The list by name; without it the one the runtime uses.",
        ),
    ]
}

fn mesh() -> Vec<Setting> {
    let config = config::config(Profile::Zero, Platform::Kubeadm);
    let setting = |path, default: Value, schema, about| Setting { path, default, schema, about };
    vec![
        setting(
            "selection.proxyContainer",
            config["selection"]["proxyContainer"].clone(),
            text("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
            "The name of the container that is the sidecar.",
        ),
        setting(
            "selection.minContainers",
            config["selection"]["minContainers"].clone(),
            json!({ "enum": [1, 2] }),
            "The fewest containers a pod of the mesh has, ordinary init containers not counted.",
        ),
        setting(
            "defaults",
            config["defaults"].clone(),
            json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            "Settings of pods that state none: text by key, as docs/settings.md has them.",
        ),
    ]
}

fn audit() -> Vec<Setting> {
    let setting = |path, default: Value, schema, about| Setting { path, default, schema, about };
    vec![
        setting(
            "audit.policy",
            "".into(),
            one_of(&["", "Off", "Report", "Repair", "Delete", "Label"]),
            "What is done with a pod that runs unprotected; without it Repair, and Off in the zero profile.",
        ),
        setting(
            "audit.findings",
            json!(["Bypass", "Drift"]),
            json!({ "type": "array", "items": one_of(&["Bypass", "Drift"]) }),
            "Which findings are acted upon; all are reported.",
        ),
        setting(
            "audit.period",
            "5m".into(),
            text("^[0-9]+[smh]$"),
            "The time between two looks at all pods.",
        ),
        setting(
            "audit.label",
            "millrace.dev/unredirected=true".into(),
            text("^[^=]+=[^=]*$"),
            "What Label puts on a pod.",
        ),
        setting(
            "metrics.address",
            METRICS.into(),
            text(":[0-9]+$"),
            "Where the serving agent answers /metrics, /livez and /readyz, on the node.",
        ),
    ]
}

fn pod() -> Vec<Setting> {
    let map = || json!({ "type": "object" });
    let setting = |path, default, schema, about| Setting { path, default, schema, about };
    vec![
        setting(
            "resources",
            json!({ "limits": { "memory": "64Mi" }, "requests": { "cpu": "10m", "memory": "32Mi" } }),
            map(),
            "No CPU limit: the agent is busiest when many pods start.",
        ),
        setting(
            "priorityClassName",
            PRIORITY.into(),
            text("."),
            "A node without an agent starts no mesh pod.",
        ),
        setting("nodeSelector", json!({ "kubernetes.io/os": "linux" }), map(), "Which nodes."),
        setting(
            "tolerations",
            json!([{ "operator": "Exists" }]),
            json!({ "type": "array", "items": { "type": "object" } }),
            "Every node that starts pods needs an agent.",
        ),
        setting("affinity", json!({}), map(), "As in a pod."),
        setting("podAnnotations", json!({}), map(), "More annotations of the agent's pods."),
        setting("podLabels", json!({}), map(), "More labels of the agent's pods."),
        setting(
            "extraArgs",
            json!([]),
            json!({ "type": "array", "items": { "type": "string" } }),
            "More arguments of the agent.",
        ),
        setting(
            "networkPolicy.enabled",
            true.into(),
            json!({ "type": "boolean" }),
            "Shuts off whatever else ends up in the namespace; the agent is in the node's network, where no\n\
             policy reaches.",
        ),
    ]
}
