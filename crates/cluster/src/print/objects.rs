//! The objects that run the agent, from what differs between clusters. The one source of manifests, overlays and chart.
//!
//! Pure: values in, trees out. It grants nothing that has no named use.

use super::config;
use super::daemonset;
use super::places::{Places, places};
use super::words::{self, AGENT, COMPONENT, NAMESPACE, OPERATOR, VIEWER, Words, map, meta};
use super::yaml;
use crate::args::print::{Platform, Profile};
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, ResourceQuota, ResourceQuotaSpec, ScopeSelector, ScopedResourceSelectorRequirement,
    ServiceAccount,
};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use serde_json::Value;

/// What on OpenShift lets in the agent's pod, and what binds the agent to it.
pub(super) const SCC: &str = "system:openshift:scc:privileged";
/// See [`SCC`].
pub(super) const SCC_BINDING: &str = "millrace-agent-scc";

/// The words of one cluster.
pub(crate) fn plain(profile: Profile, platform: Platform, image: Option<&str>) -> Words {
    let Places { conf_dir, bin_dir, runtime_dir } = places(platform);
    let config = yaml::write(&yaml::Node::of(&config::config(profile, platform)), "Config");
    Words {
        image: words::image(image),
        namespace: NAMESPACE.to_owned(),
        conf_dir: conf_dir.to_owned(),
        bin_dir: bin_dir.to_owned(),
        runtime_dir: runtime_dir.to_owned(),
        config,
    }
}

/// One object and the file it is printed into, where there are files.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// The file, without its ending.
    pub(crate) file: &'static str,
    /// The object.
    pub(crate) tree: Value,
}

impl Object {
    pub(super) fn new(file: &'static str, object: impl Serialize) -> Object {
        Object { file, tree: serde_json::to_value(object).expect("an API object has a tree") }
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> &str {
        self.tree["kind"].as_str().unwrap_or_default()
    }

    /// Where comments on its parts are looked up: its kind, and whose it is if not the agents'.
    pub(crate) fn place(&self) -> String {
        match self.tree["metadata"]["labels"]["app.kubernetes.io/component"].as_str() {
            Some(COMPONENT) if [OPERATOR, VIEWER].contains(&self.name()) => format!("people/{}", self.kind()),
            Some(COMPONENT) => format!("{COMPONENT}/{}", self.kind()),
            _ => self.kind().to_owned(),
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.tree["metadata"]["name"].as_str().unwrap_or_default()
    }
}

/// All objects, in the order in which they are applied.
pub(crate) fn objects(words: &Words, profile: Profile, platform: Platform) -> Vec<Object> {
    let mut all = vec![namespace(&words.namespace)];
    all.extend(rbac(words, profile));
    all.push(config_map(words));
    all.push(Object::new("networkpolicy", closed(words)));
    all.extend(extras(words, platform));
    all.push(Object::new("daemonset", daemonset::daemon_set(words, profile)));
    all
}

/// The Jobs that clear `nodes`.
pub(crate) fn uninstall(words: &Words, nodes: &[String]) -> Vec<Object> {
    nodes.iter().map(|node| Object::new("uninstall", daemonset::uninstall(words, node))).collect()
}

/// What only some platforms need.
pub(crate) fn extras(words: &Words, platform: Platform) -> Vec<Object> {
    match platform {
        Platform::Gke => vec![Object::new("quota", quota(words))],
        Platform::Openshift => {
            let role = RoleRef {
                api_group: "rbac.authorization.k8s.io".into(),
                kind: "ClusterRole".into(),
                name: SCC.into(),
            };
            vec![Object::new("scc", binding(words, SCC_BINDING, role))]
        }
        _ => Vec::new(),
    }
}

/// The namespace of everything that has one.
pub(super) fn namespace(name: &str) -> Object {
    let mut meta = meta(name, None);
    let labels = meta.labels.get_or_insert_default();
    labels.extend(map(&[
        ("istio-injection", "disabled"),
        ("pod-security.kubernetes.io/audit", "privileged"),
        ("pod-security.kubernetes.io/enforce", "privileged"),
        ("pod-security.kubernetes.io/warn", "privileged"),
    ]));
    Object::new("namespace", Namespace { metadata: meta, ..Namespace::default() })
}

fn rbac(words: &Words, profile: Profile) -> Vec<Object> {
    let account = ServiceAccount {
        metadata: meta(AGENT, Some(&words.namespace)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    let role =
        ClusterRole { metadata: meta(AGENT, None), rules: Some(rules(profile)), ..ClusterRole::default() };
    let reference = RoleRef {
        api_group: "rbac.authorization.k8s.io".into(),
        kind: "ClusterRole".into(),
        name: AGENT.into(),
    };
    vec![
        Object::new("rbac", account),
        Object::new("rbac", role),
        Object::new("rbac", binding(words, AGENT, reference)),
    ]
}

/// What agents may do.
pub(super) fn rules(profile: Profile) -> Vec<PolicyRule> {
    let rule = |group: &str, resource: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(vec![resource.to_owned()]),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    let mut rules = vec![
        rule("", "pods", &["get", "list", "watch"]),
        rule("", "namespaces", &["get", "list", "watch"]),
        rule("", "events", &["create"]),
        rule("millrace.dev", "meshcninodes", &["create", "patch"]),
        rule("millrace.dev", "meshcninodes/status", &["patch"]),
        rule("", "nodes", &["get"]),
    ];
    if profile == Profile::Audit {
        rules.push(rule("", "pods/eviction", &["create"]));
        rules.push(rule("", "pods", &["patch"]));
    }
    rules
}

fn binding(words: &Words, name: &str, role_ref: RoleRef) -> ClusterRoleBinding {
    let subject = Subject {
        kind: "ServiceAccount".into(),
        name: AGENT.into(),
        namespace: Some(words.namespace.clone()),
        ..Subject::default()
    };
    ClusterRoleBinding { metadata: meta(name, None), role_ref, subjects: Some(vec![subject]) }
}

fn config_map(words: &Words) -> Object {
    let config = ConfigMap {
        metadata: meta(AGENT, Some(&words.namespace)),
        data: Some(map(&[("agent.yaml", &words.config)])),
        ..ConfigMap::default()
    };
    Object::new("config", config)
}

fn closed(words: &Words) -> NetworkPolicy {
    let spec = NetworkPolicySpec {
        pod_selector: Some(LabelSelector::default()),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
        ..NetworkPolicySpec::default()
    };
    NetworkPolicy { metadata: meta("millrace-closed", Some(&words.namespace)), spec: Some(spec) }
}

fn quota(words: &Words) -> ResourceQuota {
    let critical = ScopedResourceSelectorRequirement {
        operator: "In".into(),
        scope_name: "PriorityClass".into(),
        values: Some(vec![daemonset::PRIORITY.into()]),
    };
    let spec = ResourceQuotaSpec {
        hard: Some([("pods".to_owned(), Quantity("5000".into()))].into()),
        scope_selector: Some(ScopeSelector { match_expressions: Some(vec![critical]) }),
        ..ResourceQuotaSpec::default()
    };
    ResourceQuota {
        metadata: meta("millrace-critical", Some(&words.namespace)),
        spec: Some(spec),
        ..ResourceQuota::default()
    }
}
