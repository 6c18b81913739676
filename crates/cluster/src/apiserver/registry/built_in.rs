//! PURE: the rows of the kinds that are always served.

use super::{Kind, Model};
use crate::apiserver::names::Naming;
use crate::apiserver::shape::Shape;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, Pod, ResourceQuota, Secret, Service,
    ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A row: the plural, the kind, the short names with commas, whether it is namespaced, its parts, and how it is read.
type Row =
    (&'static str, &'static str, &'static str, Scope, &'static [Part], fn(Value) -> Result<Value, String>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Namespaced,
    Cluster,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Status,
    Scale,
    Generation,
    /// In the category "all".
    All,
}

use Part::{All, Generation, Scale, Status};
use Scope::{Cluster, Namespaced};

/// Rows by group and version.
const TABLE: &[(&str, &str, &[Row])] = &[
    (
        "",
        "v1",
        &[
            ("namespaces", "Namespace", "ns", Cluster, &[Status], typed::<Namespace>),
            ("nodes", "Node", "no", Cluster, &[Status], typed::<Node>),
            ("pods", "Pod", "po", Namespaced, &[Status, All], typed::<Pod>),
            ("services", "Service", "svc", Namespaced, &[Status, All], typed::<Service>),
            ("endpoints", "Endpoints", "ep", Namespaced, &[], typed::<Endpoints>),
            ("configmaps", "ConfigMap", "cm", Namespaced, &[], typed::<ConfigMap>),
            ("secrets", "Secret", "", Namespaced, &[], typed::<Secret>),
            ("serviceaccounts", "ServiceAccount", "sa", Namespaced, &[], typed::<ServiceAccount>),
            ("events", "Event", "ev", Namespaced, &[], typed::<Event>),
            ("limitranges", "LimitRange", "limits", Namespaced, &[], typed::<LimitRange>),
            ("resourcequotas", "ResourceQuota", "quota", Namespaced, &[Status], typed::<ResourceQuota>),
        ],
    ),
    (
        "apps",
        "v1",
        &[
            ("deployments", "Deployment", "deploy", Namespaced, WORKLOAD, typed::<Deployment>),
            ("replicasets", "ReplicaSet", "rs", Namespaced, WORKLOAD, typed::<ReplicaSet>),
            ("daemonsets", "DaemonSet", "ds", Namespaced, &[Status, Generation, All], typed::<DaemonSet>),
            ("statefulsets", "StatefulSet", "sts", Namespaced, WORKLOAD, typed::<StatefulSet>),
            ("controllerrevisions", "ControllerRevision", "", Namespaced, &[], typed::<ControllerRevision>),
        ],
    ),
    ("batch", "v1", &[("jobs", "Job", "", Namespaced, &[Status, Generation, All], typed::<Job>)]),
    ("coordination.k8s.io", "v1", &[("leases", "Lease", "", Namespaced, &[], typed::<Lease>)]),
    (
        "rbac.authorization.k8s.io",
        "v1",
        &[
            ("roles", "Role", "", Namespaced, &[], typed::<Role>),
            ("rolebindings", "RoleBinding", "", Namespaced, &[], typed::<RoleBinding>),
            ("clusterroles", "ClusterRole", "", Cluster, &[], typed::<ClusterRole>),
            ("clusterrolebindings", "ClusterRoleBinding", "", Cluster, &[], typed::<ClusterRoleBinding>),
        ],
    ),
    (
        "policy",
        "v1",
        &[(
            "poddisruptionbudgets",
            "PodDisruptionBudget",
            "pdb",
            Namespaced,
            &[Status, Generation],
            typed::<PodDisruptionBudget>,
        )],
    ),
    (
        "networking.k8s.io",
        "v1",
        &[("networkpolicies", "NetworkPolicy", "netpol", Namespaced, &[Generation], typed::<NetworkPolicy>)],
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        &[
            (
                "mutatingwebhookconfigurations",
                "MutatingWebhookConfiguration",
                "",
                Cluster,
                &[Generation],
                typed::<MutatingWebhookConfiguration>,
            ),
            (
                "validatingwebhookconfigurations",
                "ValidatingWebhookConfiguration",
                "",
                Cluster,
                &[Generation],
                typed::<ValidatingWebhookConfiguration>,
            ),
        ],
    ),
    (
        "apiextensions.k8s.io",
        "v1",
        &[(
            "customresourcedefinitions",
            "CustomResourceDefinition",
            "crd,crds",
            Cluster,
            &[Status, Generation],
            typed::<CustomResourceDefinition>,
        )],
    ),
];

const WORKLOAD: &[Part] = &[Status, Scale, Generation, All];

/// Where else a kind is served.
const ALIASES: &[(&str, &str, &str)] =
    &[("Event", "events.k8s.io", "v1"), ("PodDisruptionBudget", "policy", "v1beta1")];

/// What field selectors may ask for.
const FIELDS: &[(&str, &[&str])] = &[
    (
        "Pod",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    ),
    ("Node", &["spec.unschedulable"]),
    ("Namespace", &["status.phase"]),
    ("Secret", &["type"]),
    ("ReplicaSet", &["status.replicas"]),
    ("Job", &["status.successful"]),
    (
        "Event",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
];

/// All of them.
pub(crate) fn kinds() -> Vec<Kind> {
    let rows =
        TABLE.iter().flat_map(|(group, version, rows)| rows.iter().map(|row| kind(group, version, row)));
    rows.collect()
}

fn kind(group: &str, version: &str, row: &Row) -> Kind {
    let (plural, kind, short, scope, parts, read) = *row;
    let naming = match kind {
        "Namespace" | "Service" => Naming::Label,
        _ if group.starts_with("rbac.") => Naming::Path,
        _ => Naming::Subdomain,
    };
    let aliases = ALIASES.iter().filter(|(known, ..)| *known == kind);
    Kind {
        group: group.to_owned(),
        version: version.to_owned(),
        aliases: aliases.map(|(_, group, version)| ((*group).to_owned(), (*version).to_owned())).collect(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        namespaced: scope == Namespaced,
        short: short.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        categories: if parts.contains(&All) { vec!["all".to_owned()] } else { Vec::new() },
        naming,
        status: parts.contains(&Status),
        scale: parts.contains(&Scale),
        generation: parts.contains(&Generation),
        fields: FIELDS.iter().find(|(known, _)| *known == kind).map_or(&[], |(_, fields)| fields),
        shape: Shape::built_in(kind),
        model: Model::Typed(read),
        columns: Vec::new(),
    }
}

/// Through the type and back: what it has not is gone, what has a wrong type is told.
fn typed<T: Serialize + DeserializeOwned>(object: Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(object).map_err(|cause| cause.to_string())?;
    serde_json::to_value(typed).map_err(|cause| cause.to_string())
}
