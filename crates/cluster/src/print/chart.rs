//! The Helm chart: the same objects, with expressions where a manifest has words, and conditions where profiles differ.
//!
//! Pure. The chart does not make its namespace (Helm does); everything else is what `print manifests` prints.

use super::config;
use super::kustomize::Files;
use super::objects::{Object, extras, objects};
use super::places::{places, way};
use super::values;
use super::words::{VERSION, Words};
use super::yaml::{self, DEPTH, Node, SAME};
use crate::args::print::{Platform, Profile};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The chart's files.
pub(crate) fn files() -> Files {
    let mut files = Files::new();
    let about = json!({
        "apiVersion": "v2",
        "name": "millrace",
        "description": "The node agent of Millrace, a CNI that leads a pod's traffic to its sidecar from outside the pod",
        "type": "application",
        "version": VERSION,
        "appVersion": VERSION,
        "kubeVersion": ">= 1.25.0-0",
    });
    let made = format!("# {}\n", super::MADE);
    files.insert("Chart.yaml".into(), made.clone() + &yaml::write(&Node::of(&about), "Chart"));
    files.insert("values.yaml".into(), values::values());
    files.insert("values.schema.json".into(), values::schema());
    files.insert("templates/_helpers.tpl".into(), helpers());
    for (name, text) in templates() {
        files.insert(format!("templates/{name}.yaml"), made.clone() + &text);
    }
    files
}

/// The text of each template.
fn templates() -> BTreeMap<&'static str, String> {
    let variant =
        |profile| objects(&words(), profile, Platform::Kubeadm).into_iter().map(adapt).collect::<Vec<_>>();
    let (zero, audit) = (variant(Profile::Zero), variant(Profile::Audit));
    let mut texts = BTreeMap::new();
    for (zero, audit) in zero.iter().zip(&audit).filter(|(object, _)| object.kind() != "Namespace") {
        let text = yaml::write(&Node::merge(&zero.tree, &audit.tree), zero.kind());
        let whole: &mut String = texts.entry(zero.file).or_default();
        if !whole.is_empty() {
            whole.push_str("---\n");
        }
        whole.push_str(&text);
    }
    if let Some(text) = texts.get_mut("networkpolicy") {
        *text = only(".Values.networkPolicy.enabled", text);
    }
    for platform in Platform::ALL {
        for object in extras(&words(), platform).into_iter().map(adapt) {
            let text = yaml::write(&Node::of(&object.tree), object.kind());
            let condition = format!("eq .Values.platform {:?}", platform.name());
            texts.insert(object.file, only(&condition, &text));
        }
    }
    texts
}

fn only(condition: &str, text: &str) -> String {
    format!("{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n")
}

fn words() -> Words {
    let include = |name: &str| format!("{{{{ include \"millrace.{name}\" . }}}}");
    Words {
        image: include("image"),
        namespace: "{{ .Release.Namespace }}".into(),
        conf_dir: include("confDir"),
        bin_dir: include("binDir"),
        runtime_dir: include("runtimeDir"),
        config: format!("{{{{ \"|\" }}}}{{{{ include \"millrace.config\" . | nindent {DEPTH} }}}}"),
    }
}

/// What values may change in an object.
fn adapt(mut object: Object) -> Object {
    let tree = &mut object.tree;
    if let Some(labels) = tree.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.insert("app.kubernetes.io/managed-by".into(), "{{ .Release.Service }}".into());
        labels.insert("helm.sh/chart".into(), "{{ .Chart.Name }}-{{ .Chart.Version }}".into());
    }
    if object.kind() == "DaemonSet" {
        adapt_pod(&mut object.tree["spec"]["template"]);
    }
    object
}

fn adapt_pod(template: &mut Value) {
    let tree = |value: &str| Value::from(format!("{{{{- toYaml .Values.{value} | nindent {DEPTH} }}}}"));
    let maybe = |value: &str| {
        Value::from(format!(
            "{{{{- with .Values.{value} }}}}\n{value}: {{{{- toYaml . | nindent {DEPTH} }}}}\n{{{{- end }}}}"
        ))
    };
    let more = |value: &str| {
        Value::from(format!(
            "{{{{- with .Values.{value} }}}}{{{{- toYaml . | nindent {SAME} }}}}{{{{- end }}}}"
        ))
    };
    let pod = &mut template["spec"];
    pod["nodeSelector"] = tree("nodeSelector");
    pod["tolerations"] = tree("tolerations");
    pod["priorityClassName"] = "{{ .Values.priorityClassName }}".into();
    pod["{{secrets"] = maybe("imagePullSecrets");
    pod["{{affinity"] = maybe("affinity");
    let container = &mut pod["containers"][0];
    let args = container["args"].as_array().cloned().unwrap_or_default();
    let ours: Vec<String> = args.iter().filter(|arg| !is_metrics(arg)).map(Value::to_string).collect();
    container["args"] = format!(
        "{{{{ concat (list {} (printf \"--metrics-address=%s\" .Values.metrics.address)) .Values.extraArgs | toJson }}}}",
        ours.join(" ")
    )
    .into();
    container["imagePullPolicy"] = "{{ .Values.image.pullPolicy }}".into();
    container["resources"] = tree("resources");
    let metadata = &mut template["metadata"];
    metadata["annotations"]["prometheus.io/port"] =
        "{{ .Values.metrics.address | splitList \":\" | last | quote }}".into();
    metadata["annotations"]["{{more"] = more("podAnnotations");
    metadata["labels"]["{{more"] = more("podLabels");
}

fn is_metrics(arg: &Value) -> bool {
    arg.as_str().is_some_and(|arg| arg.starts_with("--metrics-address="))
}

/// What templates include: the platform's places, the image, the agent's configuration.
fn helpers() -> String {
    let mut text = format!("{{{{/* {} */}}}}\n", super::MADE);
    let mut table = serde_json::Map::new();
    for platform in Platform::ALL {
        let places = places(platform);
        table.insert(
            platform.name().to_owned(),
            json!({
                "confDir": places.conf_dir,
                "binDir": places.bin_dir,
                "runtimeDir": places.runtime_dir,
                "way": way(platform),
            }),
        );
    }
    let mut define = |name: &str, body: &str| {
        text.push_str(&format!("\n{{{{- define \"millrace.{name}\" -}}}}\n{body}\n{{{{- end }}}}\n"));
    };
    define("platforms", &format!("{:#}", Value::Object(table)));
    for name in ["confDir", "binDir", "runtimeDir", "way"] {
        let platform = "(get (include \"millrace.platforms\" . | fromJson) .Values.platform)";
        define(name, &format!("{{{{ .Values.install.{name} | default (get {platform} {name:?}) }}}}"));
    }
    define(
        "image",
        "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}\
         {{ with .Values.image.digest }}@{{ . }}{{ end }}",
    );
    define("auditPolicy", &{
        let [zero, audit] = Profile::ALL.map(config::policy);
        format!(
            "{{{{ .Values.audit.policy | default (eq .Values.profile \"audit\" | ternary {audit:?} {zero:?}) }}}}"
        )
    });
    define("config", yaml::write(&Node::of(&config_of_values()), "Config").trim_end());
    text
}

/// The agent's configuration with expressions for values.
fn config_of_values() -> Value {
    let mut config = config::config(Profile::Zero, Platform::Kubeadm);
    let multus = Platform::Openshift.name();
    let told = |name: &str| {
        format!(
            "eq .Values.platform {multus:?} | ternary (include \"millrace.{name}\" .) .Values.install.{name} | quote"
        )
    };
    for (pointer, expression) in [
        ("/excludeNamespaces", ".Values.excludeNamespaces | toJson"),
        ("/failurePolicy", ".Values.failurePolicy"),
        ("/backend", ".Values.backend"),
        ("/agentTimeout", ".Values.agentTimeout | quote"),
        ("/statusGating", ".Values.statusGating"),
        ("/install/platform", ".Values.platform"),
        ("/install/way", "include \"millrace.way\" . | quote"),
        ("/install/confDir", &told("confDir")),
        ("/install/binDir", &told("binDir")),
        ("/install/list", ".Values.install.list | quote"),
        ("/audit/findings", ".Values.audit.findings | toJson"),
        ("/audit/period", ".Values.audit.period | quote"),
        ("/audit/label", ".Values.audit.label | quote"),
        ("/audit/policy", "include \"millrace.auditPolicy\" . | quote"),
        ("/selection/proxyContainer", ".Values.selection.proxyContainer | quote"),
        ("/selection/minContainers", ".Values.selection.minContainers"),
        ("/defaults", ".Values.defaults | toJson"),
    ] {
        let place = config.pointer_mut(pointer).expect("the configuration has the key");
        *place = format!("{{{{ {expression} }}}}").into();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_the_chart_is_in_every_place_of_a_manifest_word() {
        let text = templates().into_values().collect::<String>();
        for word in [super::super::words::NAMESPACE, super::super::words::REPOSITORY] {
            assert!(!text.contains(word), "a template says {word}");
        }
        assert!(
            text.contains(super::super::words::AGENT) && !text.contains("@DEPTH") && !text.contains("@SAME"),
            "{text}"
        );
    }

    #[test]
    fn a_mark_differs_with_the_text() {
        use super::super::words::mark;
        assert_ne!(mark("a"), mark("b"));
    }
}
