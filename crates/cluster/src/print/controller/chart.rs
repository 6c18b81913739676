//! The controller's Helm chart: the same objects, with expressions where a manifest has words.
//!
//! Pure. It is a chart apart from the agents' own: who installs the controller says the rest in the MeshCNI, not in values.

use super::deployment::{self, PRIORITY, REPLICAS};
use super::{Words, objects};
use crate::print::chart::{
    IMAGE, NAMESPACE, adapt_pod, add, chart, define, include, label, made, only, with_extra_args,
};
use crate::print::kustomize::Files;
use crate::print::values::{self, Setting, image, text};
use crate::print::yaml::{self, Node};
use crate::print::{MADE, crd};
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
    texts
}

fn adapt(spec: &mut Value) {
    spec["replicas"] = "{{ .Values.replicas }}".into();
    let template = &mut spec["template"];
    if let Some(pod) = template["spec"].as_object_mut() {
        pod.remove("affinity");
    }
    adapt_pod(template);
    template["spec"]["containers"][0]["args"] =
        with_extra_args("\"controller\" (printf \"--image=%s\" (include \"millrace.image\" .))");
}

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
        setting("resources", tree(deployment::resources()), map(), "No CPU limit: pods wait for the webhook."),
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
        setting(
            "networkPolicy.enabled",
            true.into(),
            json!({ "type": "boolean" }),
            "Lets the API server in and the controller out, beside the policy that shuts the namespace: without\n\
             it see to that yourself.",
        ),
    ]);
    all
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
