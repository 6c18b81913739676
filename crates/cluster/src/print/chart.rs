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

/// The namespace, as Helm names it.
pub(super) const NAMESPACE: &str = "{{ .Release.Namespace }}";
/// The image, as values name it.
pub(super) const IMAGE: &str = "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}\
                                {{ with .Values.image.digest }}@{{ . }}{{ end }}";

/// The chart's files.
pub(crate) fn files() -> Files {
    let mut files = Files::new();
    let about =
        "The node agent of Millrace, a CNI that leads a pod's traffic to its sidecar from outside the pod";
    files.insert("Chart.yaml".into(), chart("millrace", about));
    files.insert("values.yaml".into(), values::values(values::settings()));
    files.insert("values.schema.json".into(), values::schema(values::settings()));
    files.insert("templates/_helpers.tpl".into(), helpers());
    files.extend(made(templates()));
    files
}

/// `Chart.yaml`.
pub(super) fn chart(name: &str, about: &str) -> String {
    let about = json!({
        "apiVersion": "v2",
        "name": name,
        "description": about,
        "type": "application",
        "version": VERSION,
        "appVersion": VERSION,
        "kubeVersion": ">= 1.25.0-0",
    });
    format!("# {}\n{}", super::MADE, yaml::write(&Node::of(&about), "Chart"))
}

/// Templates as files.
pub(super) fn made(templates: BTreeMap<&'static str, String>) -> Files {
    let file = |(name, text)| (format!("templates/{name}.yaml"), format!("# {}\n{text}", super::MADE));
    templates.into_iter().map(file).collect()
}

/// The text of each template.
fn templates() -> BTreeMap<&'static str, String> {
    let variant =
        |profile| objects(&words(), profile, Platform::Kubeadm).into_iter().map(adapt).collect::<Vec<_>>();
    let (zero, audit) = (variant(Profile::Zero), variant(Profile::Audit));
    let mut texts = BTreeMap::new();
    for (zero, audit) in zero.iter().zip(&audit).filter(|(object, _)| object.kind() != "Namespace") {
        let text = yaml::write(&Node::merge(&zero.tree, &audit.tree), &zero.place());
        add(texts.entry(zero.file).or_default(), &text);
    }
    if let Some(text) = texts.get_mut("networkpolicy") {
        *text = only(".Values.networkPolicy.enabled", text);
    }
    for platform in Platform::ALL {
        for object in extras(&words(), platform).into_iter().map(adapt) {
            let text = yaml::write(&Node::of(&object.tree), &object.place());
            let condition = format!("eq .Values.platform {:?}", platform.name());
            texts.insert(object.file, only(&condition, &text));
        }
    }
    texts
}

/// Adds an object to a file.
pub(super) fn add(file: &mut String, text: &str) {
    if !file.is_empty() {
        file.push_str("---\n");
    }
    file.push_str(text);
}

/// A text that is there under a condition.
pub(super) fn only(condition: &str, text: &str) -> String {
    format!("{{{{- if {condition} }}}}\n{text}{{{{- end }}}}\n")
}

fn words() -> Words {
    Words {
        image: include("image"),
        namespace: NAMESPACE.into(),
        conf_dir: include("confDir"),
        bin_dir: include("binDir"),
        runtime_dir: include("runtimeDir"),
        config: format!("{{{{ \"|\" }}}}{{{{ include \"millrace.config\" . | nindent {DEPTH} }}}}"),
    }
}

/// What the other names of a template stand for.
pub(super) fn include(name: &str) -> String {
    format!("{{{{ include \"millrace.{name}\" . }}}}")
}

/// What values may change in an object.
fn adapt(mut object: Object) -> Object {
    label(&mut object.tree);
    if object.kind() == "DaemonSet" {
        adapt_agent(&mut object.tree["spec"]["template"]);
    }
    object
}

/// The labels that Helm's own objects have.
pub(super) fn label(tree: &mut Value) {
    if let Some(labels) = tree.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.insert("app.kubernetes.io/managed-by".into(), "{{ .Release.Service }}".into());
        labels.insert("helm.sh/chart".into(), "{{ .Chart.Name }}-{{ .Chart.Version }}".into());
    }
}

fn adapt_agent(template: &mut Value) {
    adapt_pod(template);
    let args = &mut template["spec"]["containers"][0]["args"];
    let ours = args.as_array().cloned().unwrap_or_default();
    let ours: Vec<String> = ours.iter().filter(|arg| !is_metrics(arg)).map(Value::to_string).collect();
    let address = "(printf \"--metrics-address=%s\" .Values.metrics.address)";
    *args = with_extra_args(&format!("{} {address}", ours.join(" ")));
    template["metadata"]["annotations"]["prometheus.io/port"] =
        "{{ .Values.metrics.address | splitList \":\" | last | quote }}".into();
}

/// Arguments, and those that a user adds.
pub(super) fn with_extra_args(ours: &str) -> Value {
    format!("{{{{ concat (list {ours}) .Values.extraArgs | toJson }}}}").into()
}

/// What values may change in a pod of any chart of ours.
pub(super) fn adapt_pod(template: &mut Value) {
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
    container["imagePullPolicy"] = "{{ .Values.image.pullPolicy }}".into();
    container["resources"] = tree("resources");
    let metadata = &mut template["metadata"];
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
    let mut define = |name: &str, body: &str| text.push_str(&define(name, body));
    define("platforms", &format!("{:#}", Value::Object(table)));
    for name in ["confDir", "binDir", "runtimeDir", "way"] {
        let platform = "(get (include \"millrace.platforms\" . | fromJson) .Values.platform)";
        define(name, &format!("{{{{ .Values.install.{name} | default (get {platform} {name:?}) }}}}"));
    }
    define("image", IMAGE);
    define("auditPolicy", &{
        let [zero, audit] = Profile::ALL.map(config::policy);
        format!(
            "{{{{ .Values.audit.policy | default (eq .Values.profile \"audit\" | ternary {audit:?} {zero:?}) }}}}"
        )
    });
    define("config", yaml::write(&Node::of(&config_of_values()), "Config").trim_end());
    text
}

/// A name for templates.
pub(super) fn define(name: &str, body: &str) -> String {
    format!("\n{{{{- define \"millrace.{name}\" -}}}}\n{body}\n{{{{- end }}}}\n")
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
