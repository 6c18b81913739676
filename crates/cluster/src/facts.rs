//! Reads pods out of manifests: YAML or JSON, one document or many, pods themselves and the templates of workloads.
//!
//! Takes facts over and judges nothing; what an API server would refuse is a complaint. Documents of other kinds are
//! passed over.

use anyhow::{Context, Result, bail};
use millrace_core::complaint::Complaint;
use millrace_core::pod::{Container, Pod, Role};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Arguments;

/// The most bytes of a manifest that are read (M10).
pub(crate) const LARGEST: usize = 16 << 20;
/// The most pods that one manifest may have (M10).
const MOST_PODS: usize = 10_000;

/// A pod of a manifest, and where it comes from.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// What is known of it.
    pub(crate) pod: Pod,
    /// The kind of the object it was found in.
    pub(crate) kind: String,
    /// What an API server would not take.
    pub(crate) complaints: Vec<Complaint>,
}

/// All pods of a manifest, in order. Objects without a namespace are taken to be in `namespace`.
pub(crate) fn pods(manifest: &str, namespace: &str) -> Result<Vec<Found>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifest).context("it is not YAML")?;
    let mut found = Vec::new();
    for document in &documents {
        object(document, namespace, &mut found)?;
    }
    if found.is_empty() {
        bail!("it has no pod and no workload with a pod template");
    }
    Ok(found)
}

/// The pod, or the pod template, of an object that was read. Without a namespace it is taken to be in `namespace`.
pub(crate) fn of_object(object_of: &Value, namespace: &str) -> Option<Found> {
    let mut found = Vec::new();
    object(object_of, namespace, &mut found).ok()?;
    found.pop()
}

/// What is known of one pod, or of a pod template standing alone. Without a namespace it is taken to be in `namespace`.
pub(crate) fn pod(object: &Value, namespace: &str) -> (Pod, Vec<Complaint>) {
    let mut reader = Reader { complaints: Vec::new() };
    let pod = reader.pod(object, &Value::Null, namespace);
    (pod, reader.complaints)
}

/// Where in an object the pod or the pod template is, as a JSON pointer; `None` for a kind that has none.
pub(crate) fn template_of(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some(""),
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" | "ReplicationController" => {
            Some("/spec/template")
        }
        "PodTemplate" => Some("/template"),
        "CronJob" => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Whether objects of that kind are made of others.
pub(crate) fn is_list(kind: &str) -> bool {
    matches!(kind, "List" | "PodList")
}

fn object(object_of: &Value, namespace: &str, found: &mut Vec<Found>) -> Result<()> {
    let kind = object_of["kind"].as_str().unwrap_or_default();
    if is_list(kind) {
        for item in object_of["items"].as_array().into_iter().flatten() {
            object(item, namespace, found)?;
        }
        return Ok(());
    }
    let Some(place) = template_of(kind) else { return Ok(()) };
    let template = object_of.pointer(place).unwrap_or(&Value::Null);
    if found.len() == MOST_PODS {
        bail!("it has more than {MOST_PODS} pods; split it");
    }
    let mut reader = Reader { complaints: Vec::new() };
    let pod = reader.pod(template, &object_of["metadata"], namespace);
    found.push(Found { pod, kind: kind.to_owned(), complaints: reader.complaints });
    Ok(())
}

struct Reader {
    complaints: Vec<Complaint>,
}

impl Reader {
    /// `owner` is the metadata of the object that a template stands in: a pod made from it has its namespace, and a name
    /// that begins with its.
    fn pod(&mut self, template: &Value, owner: &Value, namespace: &str) -> Pod {
        let metadata = &template["metadata"];
        let spec = &template["spec"];
        let stated = |field: &str| {
            let own = metadata[field].as_str().or_else(|| owner[field].as_str());
            own.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let name = stated("name").or_else(|| stated("generateName")).unwrap_or_default();
        let defaults = &spec["securityContext"];
        let mut containers = Vec::new();
        for (list, ordinary) in [("initContainers", Role::Init), ("containers", Role::Regular)] {
            for one in spec[list].as_array().into_iter().flatten() {
                let sidecar = ordinary == Role::Init && one["restartPolicy"] == "Always";
                let role = if sidecar { Role::NativeSidecar } else { ordinary };
                containers.push(self.container(one, role, defaults));
            }
        }
        Pod {
            namespace: stated("namespace").unwrap_or_else(|| namespace.to_owned()),
            name,
            uid: metadata["uid"].as_str().map(str::to_owned),
            labels: self.texts("label", metadata["labels"].as_object()),
            annotations: self.texts("annotation", metadata["annotations"].as_object()),
            host_network: spec["hostNetwork"] == true,
            containers,
        }
    }

    fn container(&mut self, container: &Value, role: Role, defaults: &Value) -> Container {
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        let args = container["args"].as_array().into_iter().flatten();
        let mut env = BTreeMap::new();
        for variable in container["env"].as_array().into_iter().flatten() {
            let (Some(key), value) = (variable["name"].as_str(), &variable["value"]) else { continue };
            if !value.is_null() {
                env.insert(key.to_owned(), self.text(format_args!("container {name} env {key}"), value));
            }
        }
        let mut id = |field: &str| {
            let own = &container["securityContext"][field];
            let value = if own.is_null() { &defaults[field] } else { own };
            self.id(format_args!("container {name} {field}"), value)
        };
        let (run_as_user, run_as_group) = (id("runAsUser"), id("runAsGroup"));
        let args = args.map(|arg| arg.as_str().map_or_else(|| arg.to_string(), str::to_owned)).collect();
        Container { name, role, args, env, run_as_user, run_as_group }
    }

    fn texts(&mut self, kind: &str, map: Option<&Map<String, Value>>) -> BTreeMap<String, String> {
        let entries = map.into_iter().flatten();
        entries.map(|(key, value)| (key.clone(), self.text(format_args!("{kind} {key}"), value))).collect()
    }

    /// A text. What YAML reads as something else (`false`, `80`) an API server refuses; it is taken as it was meant.
    fn text(&mut self, what: Arguments<'_>, value: &Value) -> String {
        if let Some(text) = value.as_str() {
            return text.to_owned();
        }
        let text = value.to_string();
        let fix = format!("put it into quotes: \"{text}\"");
        self.complaints.push(Complaint::fatal(
            &what.to_string(),
            &text,
            "is not a text, so the API server refuses it",
            fix,
        ));
        text
    }

    fn id(&mut self, what: Arguments<'_>, value: &Value) -> Option<u32> {
        if value.is_null() {
            return None;
        }
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        if id.is_none() {
            let fix = "write a number from 0 to 4294967295";
            self.complaints.push(Complaint::fatal(
                &what.to_string(),
                &value.to_string(),
                "is not a number of a user or group",
                fix,
            ));
        }
        id
    }
}

#[cfg(test)]
#[path = "../tests/corpus/mod.rs"]
mod readers;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_its_corpus() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/manifest");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let read = files.map(|file| {
            eprintln!("{}", file.display());
            readers::manifest(&std::fs::read(&file).unwrap());
        });
        assert!(read.count() >= 3, "{folder} holds too little to begin with");
    }

    /// Of each pod: its kind, namespace and name, and the names and roles of its containers.
    fn check(manifest: &str, expected: &[&str]) -> Vec<Found> {
        let found = pods(manifest, "here").expect("a manifest with pods");
        let shown = |one: &Found| {
            let containers = one.pod.containers.iter();
            let containers: Vec<String> =
                containers.map(|one| format!("{}:{:?}", one.name, one.role)).collect();
            format!("{} {}/{} {}", one.kind, one.pod.namespace, one.pod.name, containers.join(" "))
        };
        assert_eq!(found.iter().map(shown).collect::<Vec<_>>(), expected);
        found
    }

    #[test]
    fn pods_and_templates() {
        let manifest = "
kind: Service
metadata: {name: web}
---
kind: Deployment
metadata: {name: web-v1, namespace: shop}
spec:
  template:
    spec:
      initContainers: [{name: prepare}, {name: istio-proxy, restartPolicy: Always}]
      containers: [{name: app}]
---
# an empty document
---
kind: Pod
metadata: {generateName: one-}
spec: {containers: [{name: app}]}
---
kind: CronJob
metadata: {name: nightly}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: job}]}}}}}
---
kind: List
items: [{kind: Pod, metadata: {name: two}, spec: {}}]
";
        check(
            manifest,
            &[
                "Deployment shop/web-v1 prepare:Init istio-proxy:NativeSidecar app:Regular",
                "Pod here/one- app:Regular",
                "CronJob here/nightly job:Regular",
                "Pod here/two ",
            ],
        );
    }

    #[test]
    fn facts_of_containers() {
        let manifest = "
kind: Pod
metadata: {name: one, labels: {a: b}, annotations: {c: d}}
spec:
  hostNetwork: true
  securityContext: {runAsUser: 1000, runAsGroup: 1001}
  containers:
  - name: app
    args: [proxy, sidecar]
    env: [{name: X, value: '1'}, {name: Y, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    securityContext: {runAsUser: 0}
";
        let found = check(manifest, &["Pod here/one app:Regular"]);
        let pod = &found[0].pod;
        let app = &pod.containers[0];
        assert!(pod.host_network && found[0].complaints.is_empty());
        assert_eq!((app.run_as_user, app.run_as_group), (Some(0), Some(1001)));
        assert_eq!(
            (app.args.join(" "), app.env.len(), app.env["X"].as_str()),
            ("proxy sidecar".into(), 1, "1")
        );
        assert_eq!((pod.labels["a"].as_str(), pod.annotations["c"].as_str()), ("b", "d"));
    }

    #[test]
    fn what_an_api_server_refuses() {
        let manifest = "
kind: Pod
metadata: {name: one, labels: {sidecar.istio.io/inject: false}}
spec: {containers: [{name: app, securityContext: {runAsUser: -1}}]}
";
        let found = check(manifest, &["Pod here/one app:Regular"]);
        let shown: Vec<String> = found[0].complaints.iter().map(ToString::to_string).collect();
        let expected = [
            "container app runAsUser: \"-1\": is not a number of a user or group; write a number from 0 to 4294967295",
            "label sidecar.istio.io/inject: \"false\": is not a text, so the API server refuses it; \
             put it into quotes: \"false\"",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn no_pod_is_an_error() {
        assert!(pods("kind: Service", "here").is_err());
        assert!(pods("", "here").is_err());
        assert!(pods("a: [", "here").is_err());
    }
}
