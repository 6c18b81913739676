//! The objects that a group of nodes needs, made of what `print` makes for everybody; and which of those that are there are
//! too many. PURE.
//!
//! It decides nothing about when: `transition` and `rollout` do. It never makes an object that its owner could mistake for its
//! own: all carry who manages them.

use super::observed::STARTED_WITH;
use super::targets::{Digests, Group};
use crate::api::convert::{AgentConfig, agent_config, text_digest};
use crate::api::mesh::{AuditPolicy, MeshCNISpec, WebhookFailurePolicy};
use crate::api::ours::PLATFORM_LABEL;
pub(crate) use crate::api::ours::{MANAGED_BY, MANAGER, REVISION, Release, SYSTEM};
use crate::api::platform::Platform;
use crate::args::print::Profile;
use crate::print::objects;
use crate::print::words::{AGENT, MUTATING, WEBHOOK, Words};
use crate::webhook::serve::PATH;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Where objects live, and whose they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    /// The namespace.
    pub(crate) namespace: String,
    /// The UID of the MeshCNI.
    pub(crate) owner: String,
    /// Whether the API server lets a node have its new agent before the old one goes (1.22 and later do).
    pub(crate) surges: bool,
}

/// How an API server reaches the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Whom it trusts, as PEM.
    pub(crate) bundle: String,
    /// Where it is, if not behind the Service.
    pub(crate) url: Option<String>,
}

/// An object by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its kind.
    pub(crate) kind: String,
    /// Its namespace; empty for one of the whole cluster.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

/// The label that tells the groups' agents apart.
const GROUP: &str = "millrace.dev/group";

/// What the objects of a group are called.
pub(crate) fn name(group: Group) -> String {
    format!("{AGENT}-{}{}", group.platform.name(), if group.canary { "-canary" } else { "" })
}

/// By what it is known that agents of a group are of this release.
pub(crate) fn digests(home: &Home, group: Group, release: &Release) -> Digests {
    let template = daemon_set(home, group, release)["spec"]["template"].to_string();
    let install = serde_json::to_string(&release.spec.install).expect("plain data has a text");
    let start = text_digest(&format!("{template}{install}"));
    Digests { config: config(group, &release.spec, &home.namespace).digest, start }
}

/// All objects of a group, without the namespace. `hold` leaves agents alone that run.
pub(crate) fn objects(home: &Home, group: Group, release: &Release, revision: i64, hold: bool) -> Vec<Value> {
    let rest = objects::objects(&words(home, group, release), profile(&release.spec), group.platform);
    let rest = rest.into_iter().map(|object| object.tree);
    let mut all: Vec<Value> =
        rest.filter(|tree| !matches!(tree["kind"].as_str(), Some("Namespace" | "DaemonSet"))).collect();
    for tree in all.iter_mut().filter(|tree| tree["kind"] == "ConfigMap") {
        tree["metadata"]["name"] = name(group).into();
    }
    let mut set = daemon_set(home, group, release);
    set["metadata"]["annotations"] = json!({ REVISION: revision.to_string() });
    set["spec"]["template"]["metadata"]["annotations"][STARTED_WITH] =
        digests(home, group, release).start.into();
    set["spec"]["updateStrategy"] = match hold {
        true => json!({ "type": "OnDelete" }),
        false => json!({ "type": "RollingUpdate", "rollingUpdate": rolling(home, release) }),
    };
    all.push(set);
    all.iter_mut().for_each(|tree| sign(tree, home));
    all
}

/// The Job that clears a node of a group.
pub(crate) fn clearing(home: &Home, group: Group, release: &Release, node: &str) -> Value {
    let words = words(home, group, release);
    let mut job = objects::uninstall(&words, &[node.to_owned()]).remove(0).tree;
    configured_by(&mut job["spec"]["template"], &name(group));
    sign(&mut job, home);
    job
}

/// The namespace, for a cluster that has it not. It is never deleted: others may have moved in.
pub(crate) fn namespace(home: &Home, release: &Release) -> Value {
    // It is the same for all.
    let group = Group { platform: Platform::Kubeadm, canary: false };
    let all = objects::objects(&words(home, group, release), profile(&release.spec), group.platform);
    let mut all = all.into_iter().map(|object| object.tree);
    all.find(|tree| tree["kind"] == "Namespace").expect("print makes a namespace")
}

/// What has pods admitted by us.
pub(crate) fn admission(home: &Home, spec: &MeshCNISpec, endpoint: &Endpoint) -> Value {
    let mut client = match &endpoint.url {
        Some(url) => json!({ "url": url }),
        None => json!({
            "service": { "namespace": home.namespace, "name": WEBHOOK, "path": PATH, "port": 443 }
        }),
    };
    client["caBundle"] = bundle(endpoint);
    let policy = match spec.admission.failure_policy {
        WebhookFailurePolicy::Ignore => "Ignore",
        WebhookFailurePolicy::Fail => "Fail",
    };
    let mut tree = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": MUTATING },
        "webhooks": [{
            "name": "pods.millrace.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": client,
            "failurePolicy": policy,
            "matchPolicy": "Equivalent",
            "namespaceSelector": { "matchExpressions": [{
                "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [SYSTEM, home.namespace],
            }] },
            "reinvocationPolicy": "IfNeeded",
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["pods"], "scope": "Namespaced",
            }],
            "sideEffects": "None",
            "timeoutSeconds": 5,
        }],
    });
    sign(&mut tree, home);
    tree
}

/// Whom an API server is to trust, as it is written in a configuration.
pub(crate) fn bundle(endpoint: &Endpoint) -> Value {
    let bundle = ByteString(endpoint.bundle.clone().into_bytes());
    serde_json::to_value(bundle).expect("bytes have a text")
}

/// Where an object is.
pub(crate) fn key(tree: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &tree["metadata"];
    Key { kind: text(&tree["kind"]), namespace: text(&meta["namespace"]), name: text(&meta["name"]) }
}

/// Those of `found`, which all carry our label and our owner, that are not wanted any more.
pub(crate) fn surplus(found: impl IntoIterator<Item = Key>, wanted: &BTreeSet<Key>) -> Vec<Key> {
    found.into_iter().filter(|key| !wanted.contains(key)).collect()
}

fn daemon_set(home: &Home, group: Group, release: &Release) -> Value {
    let words = words(home, group, release);
    let all = objects::objects(&words, profile(&release.spec), group.platform);
    let mut all = all.into_iter().map(|object| object.tree);
    let mut set = all.find(|tree| tree["kind"] == "DaemonSet").expect("print makes a DaemonSet");
    let name = name(group);
    set["metadata"]["name"] = name.as_str().into();
    set["spec"]["selector"]["matchLabels"][GROUP] = name.as_str().into();
    let template = &mut set["spec"]["template"];
    template["metadata"]["labels"][GROUP] = name.as_str().into();
    configured_by(template, &name);
    let terms = terms(group, &release.spec);
    template["spec"]["affinity"] = json!({
        "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } }
    });
    set
}

fn rolling(home: &Home, release: &Release) -> Value {
    let some = &release.spec.rollout.max_unavailable;
    if home.surges {
        json!({ "maxSurge": some, "maxUnavailable": 0 })
    } else {
        json!({ "maxUnavailable": some })
    }
}

/// The nodes of a group. Terms are alternatives: not to be a canary is to lack one of its labels.
fn terms(group: Group, spec: &MeshCNISpec) -> Vec<Value> {
    let one = |key: &str, operator: &str, value: &str| json!({ "key": key, "operator": operator, "values": [value] });
    let mut all = vec![
        one("type", "NotIn", "virtual-kubelet"),
        one("eks.amazonaws.com/compute-type", "NotIn", "fargate"),
    ];
    if spec.install.platform.is_none() {
        all.push(one(PLATFORM_LABEL, "In", group.platform.name()));
    }
    all.extend(spec.install.node_selector.iter().map(|(key, value)| one(key, "In", value)));
    let canaries = &spec.rollout.canary_node_selector;
    if group.canary || canaries.is_empty() {
        all.extend(canaries.iter().map(|(key, value)| one(key, "In", value)));
        return vec![json!({ "matchExpressions": all })];
    }
    let without = |(key, value): (&String, &String)| {
        let all: Vec<Value> = all.iter().cloned().chain([one(key, "NotIn", value)]).collect();
        json!({ "matchExpressions": all })
    };
    canaries.iter().map(without).collect()
}

fn configured_by(template: &mut Value, name: &str) {
    let volumes = template["spec"]["volumes"].as_array_mut().expect("an agent has volumes");
    for volume in volumes.iter_mut().filter(|volume| volume["configMap"].is_object()) {
        volume["configMap"]["name"] = name.into();
    }
}

fn sign(tree: &mut Value, home: &Home) {
    tree["metadata"]["labels"][MANAGED_BY] = MANAGER.into();
    tree["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNI", "name": "default", "uid": home.owner,
        "controller": true, "blockOwnerDeletion": true,
    }]);
}

fn words(home: &Home, group: Group, release: &Release) -> Words {
    let spec = &release.spec;
    let mut words = objects::plain(profile(spec), group.platform, Some(release.agents()));
    words.namespace.clone_from(&home.namespace);
    words.config = config(group, spec, &home.namespace).text;
    if let Some(folder) = &spec.install.conf_dir {
        words.conf_dir.clone_from(folder);
    }
    if let Some(folder) = &spec.install.bin_dir {
        words.bin_dir.clone_from(folder);
    }
    words
}

/// Only who looks into pods needs the privilege to.
fn profile(spec: &MeshCNISpec) -> Profile {
    if spec.audit.policy == AuditPolicy::Off { Profile::Zero } else { Profile::Audit }
}

/// The agent's configuration file: each group knows its platform, and nobody redirects us.
fn config(group: Group, spec: &MeshCNISpec, namespace: &str) -> AgentConfig {
    let mut spec = spec.clone();
    spec.install.platform = Some(group.platform);
    if !spec.exclude_namespaces.iter().any(|excluded| excluded == namespace) {
        spec.exclude_namespaces.push(namespace.to_owned());
    }
    agent_config(&spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::config::Config;

    const GROUP: Group = Group { platform: Platform::K3s, canary: false };

    fn home() -> Home {
        Home { namespace: "millrace-system".to_owned(), owner: "u-1".to_owned(), surges: true }
    }

    fn release(spec: Value) -> Release {
        Release {
            spec: serde_json::from_value(spec).expect("it is a specification"),
            image: "i:1".to_owned(),
        }
    }

    fn check(spec: Value, wanted: &[&str]) {
        let release = release(spec);
        let all = objects(&home(), GROUP, &release, 3, false);
        let text = serde_json::to_string(&all).expect("trees are text");
        wanted.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
        let map = all.iter().find(|tree| tree["kind"] == "ConfigMap").expect("there is one");
        let config = map["data"]["agent.yaml"].as_str().expect("it has the file");
        Config::read(config).expect("the agent can read it");
        for tree in &all {
            assert_eq!(tree["metadata"]["labels"][MANAGED_BY], MANAGER, "{tree}");
            assert_eq!(tree["metadata"]["ownerReferences"][0]["uid"], "u-1", "{tree}");
        }
    }

    #[test]
    fn every_setting_reaches_the_agent() {
        check(json!({}), &["millrace-agent-k3s", "millrace.dev/platform", r#""maxSurge":1"#, "i:1"]);
        check(
            json!({ "install": { "platform": "k3s", "binDir": "/b/c", "way": "OwnList", "image": "x:2" } }),
            &["own-list", "x:2", r#""path":"/b/c""#],
        );
        check(json!({ "audit": { "policy": "Report" }, "failurePolicy": "Open" }), &["SYS_PTRACE", "Open"]);
        check(json!({ "rollout": { "maxUnavailable": "10%" } }), &[r#""maxSurge":"10%""#]);
    }

    #[test]
    fn who_lacks_a_canarys_label_is_none() {
        let release =
            release(json!({ "rollout": { "canaryNodeSelector": { "tier": "test", "pool": "x" } } }));
        let terms = |canary| terms(Group { canary, ..GROUP }, &release.spec);
        assert_eq!(terms(true).len(), 1);
        let rest = terms(false);
        assert_eq!(rest.len(), 2);
        assert!(rest[0].to_string().contains(r#"{"key":"pool","operator":"NotIn","values":["x"]}"#));
    }

    #[test]
    fn only_what_needs_a_restart_restarts() {
        let of = |spec: Value| digests(&home(), GROUP, &release(spec));
        let plain = of(json!({}));
        let excluded = of(json!({ "excludeNamespaces": ["a"] }));
        assert!(plain.start == excluded.start && plain.config != excluded.config);
        let moved = of(json!({ "install": { "list": "x.conflist" } }));
        assert_ne!(plain.start, moved.start);
        let held = objects(&home(), GROUP, &release(json!({})), 1, true);
        let old = Home { surges: false, ..home() };
        let old =
            serde_json::to_string(&objects(&old, GROUP, &release(json!({})), 1, false)).expect("a text");
        assert!(old.contains(r#""rollingUpdate":{"maxUnavailable":1}"#), "{old}");
        assert!(held.iter().any(|tree| tree["spec"]["updateStrategy"]["type"] == "OnDelete"));
    }

    #[test]
    fn what_is_not_wanted_is_too_many() {
        let all = objects(&home(), GROUP, &release(json!({})), 1, false);
        let wanted: BTreeSet<Key> = all.iter().map(key).collect();
        let old = Key { name: "old".to_owned(), ..key(&all[0]) };
        assert_eq!(surplus(wanted.iter().cloned().chain([old.clone()]), &wanted), [old]);
        let job = clearing(&home(), GROUP, &release(json!({})), "n1");
        assert_eq!(job["spec"]["template"]["spec"]["nodeName"], "n1");
        assert!(job.to_string().contains(r#""configMap":{"name":"millrace-agent-k3s"}"#));
        assert_eq!(namespace(&home(), &release(json!({})))["metadata"]["name"], "millrace-system");
    }
}
