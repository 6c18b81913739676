//! The objects that run the controller, from what differs between clusters: one source of manifests, Kustomize tree and chart.
//!
//! Pure: values in, trees out. What the controller makes of a MeshCNI is not among them; it goes with the MeshCNI.

pub(crate) mod chart;
pub(crate) mod deployment;
mod people;
mod rights;

use super::crd;
use super::kustomize::{Files, by_file, kustomization};
use super::objects::{Object, namespace};
use super::words::{self, COMPONENT, CONSOLE, CONTROLLER, NAMESPACE, VALIDATING, WEBHOOK, map};
use crate::webhook::serve::CHECK;
use deployment::{HEALTH, PRIORITY, WEBHOOK_PORT};
use k8s_openapi::api::core::v1::{
    ResourceQuota, ResourceQuotaSpec, ScopeSelector, ScopedResourceSelectorRequirement, Service, ServicePort,
    ServiceSpec,
};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What differs between clusters: plain words in a manifest, expressions in the chart.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    /// The image, of the controller and of the agents that it makes.
    pub(crate) image: String,
    /// The namespace of everything that has one.
    pub(crate) namespace: String,
}

impl Words {
    /// The words of a manifest.
    pub(crate) fn plain(image: Option<&str>) -> Words {
        Words { image: words::image(image), namespace: NAMESPACE.to_owned() }
    }
}

/// All objects, in the order in which they are applied.
pub(crate) fn objects(words: &Words) -> Vec<Object> {
    let mut all = vec![namespace(&words.namespace)];
    all.extend(crd::definitions().map(|tree| Object { file: "crd", tree }));
    all.extend(rights::objects(words));
    all.extend(people::objects(words));
    all.push(Object::new("quota", quota(words)));
    all.push(Object::new("networkpolicy", reachable(words)));
    all.push(Object::new("service", service(words)));
    all.push(Object::new("disruption", budget(words)));
    all.push(Object { file: "webhook", tree: webhook(&words.namespace) });
    all.push(Object::new("deployment", deployment::deployment(words)));
    all
}

/// The tree for Kustomize.
pub(crate) fn files() -> Files {
    let mut files = by_file(&objects(&Words::plain(None)));
    let names: Vec<Value> = files.keys().map(|name| Value::from(name.clone())).collect();
    let head =
        "The controller, and what it follows. It makes the agents by itself: apply no overlay beside it.";
    files.insert("kustomization.yaml".to_owned(), kustomization(head, &json!({ "resources": names })));
    files
}

/// Has a MeshCNI judged by the controller's webhook. Whom an API server trusts there only the controller knows, and adds.
pub(crate) fn webhook(namespace: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": meta(VALIDATING, None),
        "webhooks": [{
            "name": "meshcnis.millrace.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "service": { "namespace": namespace, "name": WEBHOOK, "path": CHECK, "port": 443 },
            },
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "rules": [{
                "apiGroups": ["millrace.dev"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["meshcnis"], "scope": "Cluster",
            }],
            "sideEffects": "None",
            "timeoutSeconds": 5,
        }],
    })
}

/// Name and labels of an object; cluster-wide ones have no namespace.
fn meta(name: &str, namespace: Option<&str>) -> ObjectMeta {
    ObjectMeta { labels: Some(labels()), ..words::meta(name, namespace) }
}

fn labels() -> BTreeMap<String, String> {
    let mut labels = words::labels();
    labels.extend(selector());
    labels
}

/// The labels by which the Deployment and the Service know its pods; they can never change.
fn selector() -> BTreeMap<String, String> {
    map(&[("app.kubernetes.io/name", "millrace"), ("app.kubernetes.io/component", COMPONENT)])
}

fn pods() -> LabelSelector {
    LabelSelector { match_labels: Some(selector()), ..LabelSelector::default() }
}

fn service(words: &Words) -> Service {
    let spec = ServiceSpec {
        ports: Some(vec![service_port("webhook", IntOrString::String("webhook".into()))]),
        selector: Some(selector()),
        ..ServiceSpec::default()
    };
    Service { metadata: meta(WEBHOOK, Some(&words.namespace)), spec: Some(spec), ..Service::default() }
}

fn service_port(name: &str, target: IntOrString) -> ServicePort {
    ServicePort {
        name: Some(name.into()),
        port: 443,
        protocol: Some("TCP".into()),
        target_port: Some(target),
        ..ServicePort::default()
    }
}

/// Where the console is served to browsers that come by TLS: the chart's alone. A session is in one replica's memory, so whoever
/// comes again is led to the same one.
fn console_service(words: &Words, port: IntOrString) -> Service {
    let spec = ServiceSpec {
        ports: Some(vec![service_port("console", port)]),
        selector: Some(selector()),
        session_affinity: Some("ClientIP".into()),
        ..ServiceSpec::default()
    };
    Service { metadata: meta(CONSOLE, Some(&words.namespace)), spec: Some(spec), ..Service::default() }
}

/// Lets browsers in, beside the policy of the controller.
fn console_reachable(words: &Words, port: IntOrString) -> NetworkPolicy {
    let port =
        NetworkPolicyPort { port: Some(port), protocol: Some("TCP".into()), ..NetworkPolicyPort::default() };
    let asked = NetworkPolicyIngressRule { ports: Some(vec![port]), ..NetworkPolicyIngressRule::default() };
    let spec = NetworkPolicySpec {
        pod_selector: Some(pods()),
        policy_types: Some(vec!["Ingress".into()]),
        ingress: Some(vec![asked]),
        ..NetworkPolicySpec::default()
    };
    NetworkPolicy { metadata: meta(CONSOLE, Some(&words.namespace)), spec: Some(spec) }
}

fn budget(words: &Words) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(pods()),
        ..PodDisruptionBudgetSpec::default()
    };
    let metadata = meta(CONTROLLER, Some(&words.namespace));
    PodDisruptionBudget { metadata, spec: Some(spec), ..PodDisruptionBudget::default() }
}

/// What the controller is asked by, and whom it asks. Policies add up: this one holds beside the one that shuts the namespace.
fn reachable(words: &Words) -> NetworkPolicy {
    let tcp = |port: Option<i32>| NetworkPolicyPort {
        port: port.map(IntOrString::Int),
        protocol: Some("TCP".into()),
        ..NetworkPolicyPort::default()
    };
    let asked = NetworkPolicyIngressRule {
        ports: Some(vec![tcp(Some(WEBHOOK_PORT)), tcp(Some(HEALTH))]),
        ..NetworkPolicyIngressRule::default()
    };
    let asks = NetworkPolicyEgressRule { ports: Some(vec![tcp(None)]), ..NetworkPolicyEgressRule::default() };
    let spec = NetworkPolicySpec {
        pod_selector: Some(pods()),
        policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
        ingress: Some(vec![asked]),
        egress: Some(vec![asks]),
    };
    NetworkPolicy { metadata: meta(CONTROLLER, Some(&words.namespace)), spec: Some(spec) }
}

fn quota(words: &Words) -> ResourceQuota {
    let critical = ScopedResourceSelectorRequirement {
        operator: "In".into(),
        scope_name: "PriorityClass".into(),
        values: Some(vec![PRIORITY.into()]),
    };
    let spec = ResourceQuotaSpec {
        hard: Some([("pods".to_owned(), Quantity("20".into()))].into()),
        scope_selector: Some(ScopeSelector { match_expressions: Some(vec![critical]) }),
        ..ResourceQuotaSpec::default()
    };
    ResourceQuota {
        metadata: meta(CONTROLLER, Some(&words.namespace)),
        spec: Some(spec),
        ..ResourceQuota::default()
    }
}
