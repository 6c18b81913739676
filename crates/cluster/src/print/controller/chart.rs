//! The controller's Helm chart: the same objects, with expressions where a manifest has words.
//!
//! Pure. It is a chart apart from the agents' own: who installs the controller says the rest in the MeshCNI, not in values.

use super::deployment::{self, CONSOLE_ADDRESS, PRIORITY, REPLICAS};
use super::{Words, console_reachable, console_service, objects};
use crate::print::chart::{
    IMAGE, NAMESPACE, adapt_pod, add, chart, define, include, label, made, only, with_extra_args,
};
use crate::print::kustomize::Files;
use crate::print::objects::Object;
use crate::print::values::{self, Setting, image, text};
use crate::print::yaml::{self, DEPTH, Node};
use crate::print::{MADE, crd};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The chart's files.
pub(crate) fn files() -> Files {
    let about =
        "The controller of Millrace, which makes a cluster what its MeshCNI says, and serves the webhook";
    let mut files = Files::new();
    files.insert("Chart.yaml".into(), chart("millrace-controller", about));
    // Helm installs these first, and deletes them never: with them would go the MeshCNI.
    files.insert("crds/crd.yaml".into(), crd::file());
    files.insert("values.yaml".into(), values::values(settings()));
    files.insert("values.schema.json".into(), values::schema(settings()));
    let helpers = format!("{{{{/* {MADE} */}}}}\n{}", define("image", IMAGE));
    files.insert("templates/_helpers.tpl".into(), helpers);
    files.extend(made(templates()));
    files
}

fn templates() -> BTreeMap<&'static str, String> {
    let words = Words { image: include("image"), namespace: NAMESPACE.into() };
    let mut texts = BTreeMap::new();
    for mut object in objects(&words) {
        if matches!(object.kind(), "Namespace" | "CustomResourceDefinition") {
            continue;
        }
        label(&mut object.tree);
        if object.kind() == "Deployment" {
            adapt(&mut object.tree["spec"]);
        }
        let text = yaml::write(&Node::of(&object.tree), &object.place());
        add(texts.entry(object.file).or_default(), &text);
    }
    if let Some(text) = texts.get_mut("networkpolicy") {
        *text = only(".Values.networkPolicy.enabled", text);
    }
    if let Some(text) = texts.get_mut("console") {
        *text = only(".Values.console.enabled", text);
    }
    texts.insert(
        "console-service",
        only("and .Values.console.enabled .Values.console.service", &to_browsers(&words)),
    );
    texts
}

/// What leads browsers to the console that come by TLS.
fn to_browsers(words: &Words) -> String {
    let port = || IntOrString::String(CONSOLE_PORT.into());
    let objects = [
        Object::new("console-service", console_service(words, port())),
        Object::new("console-service", console_reachable(words, port())),
    ];
    let mut text = String::new();
    for mut object in objects {
        label(&mut object.tree);
        add(&mut text, &yaml::write(&Node::of(&object.tree), &object.place()));
    }
    text
}

fn adapt(spec: &mut Value) {
    spec["replicas"] = "{{ .Values.replicas }}".into();
    let template = &mut spec["template"];
    if let Some(pod) = template["spec"].as_object_mut() {
        pod.remove("affinity");
    }
    adapt_pod(template);
    template["spec"]["containers"][0]["args"] = with_extra_args(ARGS);
    let mounted = |list: &str, entry: &str| {
        let list = format!("{list}: {{{{- list ({entry}) | toYaml | nindent {DEPTH} }}}}");
        Value::from(format!("{{{{- with .Values.console.tlsSecret }}}}\n{list}\n{{{{- end }}}}"))
    };
    let volume = r#"dict "name" "console" "secret" (dict "secretName" .)"#;
    template["spec"]["{{volumes"] = mounted("volumes", volume);
    let mount = r#"dict "name" "console" "mountPath" "/etc/millrace/console" "readOnly" true"#;
    template["spec"]["containers"][0]["{{mounts"] = mounted("volumeMounts", mount);
}

/// The port of the console's address.
const CONSOLE_PORT: &str = r#"{{ .Values.console.address | splitList ":" | last | int }}"#;
/// The controller's arguments, as entries of a list.
const ARGS: &str = r#""controller" (printf "--image=%s" (include "millrace.image" .)) (printf "--console-address=%s" (.Values.console.enabled | ternary .Values.console.address "none"))) (empty .Values.console.hosts | ternary (list) (list (printf "--console-host=%s" (join "," .Values.console.hosts)))) (empty .Values.console.tlsSecret | ternary (list) (list "--console-tls-cert=/etc/millrace/console/tls.crt" "--console-tls-key=/etc/millrace/console/tls.key")) (.Values.console.tlsInFront | ternary (list "--console-tls-in-front") (list)"#;

fn settings() -> Vec<Setting> {
    let map = || json!({ "type": "object" });
    let list = || json!({ "type": "array", "items": { "type": "object" } });
    let setting = |path, default, schema, about| Setting { path, default, schema, about };
    let mut all = image();
    all.extend([
        setting(
            "replicas",
            REPLICAS.into(),
            json!({ "type": "integer", "minimum": 1 }),
            "One acts, the others stand by; all serve the webhook.",
        ),
        setting(
            "resources",
            tree(deployment::resources()),
            map(),
            "No CPU limit: pods wait for the webhook.",
        ),
        setting(
            "priorityClassName",
            PRIORITY.into(),
            text("."),
            "While no controller is there, nothing changes and no pod is converted.",
        ),
        setting("nodeSelector", json!({ "kubernetes.io/os": "linux" }), map(), "Which nodes."),
        setting(
            "tolerations",
            tree(deployment::tolerations()),
            list(),
            "The start-up taint; with another key of it in the MeshCNI (nodeTaint.key), that one.",
        ),
        setting("affinity", tree(deployment::affinity()), map(), "Rather not two on one node."),
        setting("podAnnotations", json!({}), map(), "More annotations of the controller's pods."),
        setting("podLabels", json!({}), map(), "More labels of the controller's pods."),
        setting(
            "extraArgs",
            json!([]),
            json!({ "type": "array", "items": { "type": "string" } }),
            "More arguments of the controller.",
        ),
    ]);
    all.extend(console());
    all.extend([setting(
        "networkPolicy.enabled",
        true.into(),
        json!({ "type": "boolean" }),
        "Lets the API server in and the controller out, beside the policy that shuts the namespace: without\n\
             it see to that yourself.",
    )]);
    all
}

fn console() -> Vec<Setting> {
    let setting = |path, default, schema, about| Setting { path, default, schema, about };
    let flag = || json!({ "type": "boolean" });
    vec![
        setting(
            "console.enabled",
            true.into(),
            flag(),
            "Each replica serves the console, and may ask whose a token is (docs/console.md).",
        ),
        setting(
            "console.address",
            CONSOLE_ADDRESS.into(),
            text("^.+:[0-9]+$"),
            "On loopback it is reached by kubectl port-forward alone; elsewhere it needs TLS and hosts.",
        ),
        setting(
            "console.hosts",
            json!([]),
            json!({ "type": "array", "items": { "type": "string", "pattern": "^[A-Za-z0-9.:\\[\\]-]+$" } }),
            "The names that browsers ask for it by, with the port where that is not 443; it answers to no other.",
        ),
        setting(
            "console.tlsSecret",
            "".into(),
            json!({ "type": "string" }),
            "A Secret of type kubernetes.io/tls to serve it with; read again when it changes.",
        ),
        setting(
            "console.tlsInFront",
            false.into(),
            flag(),
            "TLS ends before it, at an ingress: what comes from there is not encrypted.",
        ),
        setting(
            "console.service",
            false.into(),
            flag(),
            "A Service for it, port 443, that leads one client to one replica, and a policy that lets clients in.\n\
             An ingress that goes past Services must see to that itself (sticky sessions).",
        ),
    ]
}

fn tree(part: impl Serialize) -> Value {
    serde_json::to_value(part).expect("a part of an API object has a tree")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::words::{self, REPOSITORY};

    #[test]
    fn a_word_of_the_chart_is_in_every_place_of_a_manifest_word() {
        let text = templates().into_values().collect::<String>();
        for word in [words::NAMESPACE, REPOSITORY, "@DEPTH", "@SAME"] {
            assert!(!text.contains(word), "a template says {word}");
        }
    }
}
