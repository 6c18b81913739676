//! `MeshCNI`: what an operator wants of a cluster. Every field has a default, so `spec: {}` is the whole product.
//!
//! The texts of the fields are what `kubectl explain` prints. Plain data.

use super::platform::Platform;
use super::redirection::Redirection;
use super::rules;
use super::status::MeshCNIStatus;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an operator wants of a cluster.
#[derive(Clone, Debug, PartialEq, CustomResource, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "MeshCNI",
    plural = "meshcnis",
    singular = "meshcni",
    shortname = "mcni",
    category = "mesh",
    status = "MeshCNIStatus",
    derive = "PartialEq",
    doc = "MeshCNI is the switch: whether the node's CNI chain redirects the mesh's pods, where not, and how. There is one, named default.",
    printcolumn = r#"{ "name": "Mode", "type": "string", "jsonPath": ".spec.mode" }"#,
    printcolumn = r#"{ "name": "Phase", "type": "string", "jsonPath": ".status.phase" }"#,
    printcolumn = r#"{ "name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status" }"#,
    printcolumn = r#"{ "name": "Nodes", "type": "string", "jsonPath": ".status.nodes.summary", "description": "Nodes that serve, of those that should." }"#,
    printcolumn = r#"{ "name": "Debt", "type": "integer", "jsonPath": ".status.workloads.restartDebt", "description": "Pods that get what is wanted only when they are restarted." }"#,
    printcolumn = r#"{ "name": "Message", "type": "string", "priority": 1, "jsonPath": ".status.conditions[?(@.type==\"Ready\")].message" }"#,
    printcolumn = r#"{ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" }"#,
    validation = Rule::new("self.metadata.name == 'default'")
        .message("there is one MeshCNI in a cluster, and its name is default")

)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MeshCNISpec {
    /// Who redirects the mesh's pods. CNI: the node's CNI chain, from outside the pod. InitContainer: each pod by its own
    /// istio-init; agents stay on the nodes, ready to be switched to. Disabled: as InitContainer, and the agents leave the
    /// nodes once no pod depends on them.
    #[serde(default)]
    pub(crate) mode: Mode,
    /// Namespaces whose pods are not redirected by the CNI chain. It acts when a pod is admitted: a pod that is running
    /// stays as it is until it is restarted. At most 1000.
    #[serde(default = "excluded_by_default")]
    #[schemars(
        length(max = 1000),
        inner(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub(crate) exclude_namespaces: Vec<String>,
    /// What pods in excluded namespaces get. InitContainer: they redirect themselves by istio-init. None: whatever the
    /// injector gave them, untouched.
    #[serde(default)]
    pub(crate) excluded_policy: ExcludedPolicy,
    /// How a pod of the mesh is known.
    #[serde(default)]
    pub(crate) selection: Selection,
    /// How pods are redirected.
    #[serde(default)]
    pub(crate) redirection: Redirection,
    /// Where and how the agents install themselves.
    #[serde(default)]
    pub(crate) install: Install,
    /// How changes reach the nodes.
    #[serde(default)]
    pub(crate) rollout: Rollout,
    /// What happens to a pod of the mesh whose decision cannot be had. Closed: it does not start. Open: it starts,
    /// unprotected.
    #[serde(default)]
    pub(crate) failure_policy: FailurePolicy,
    /// How long a pod's start goes on trying to reach its node's agent, in seconds, 1 to 100: the runtime gives one call of
    /// a plugin two minutes.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub(crate) agent_timeout_seconds: u32,
    /// What happens when a pod is admitted.
    #[serde(default)]
    pub(crate) admission: Admission,
    /// What is done about running pods that are not redirected as they should be.
    #[serde(default)]
    pub(crate) audit: Audit,
    /// The taint that keeps pods off a node which cannot serve yet.
    #[serde(default)]
    pub(crate) node_taint: NodeTaint,
    /// Whether the runtime calls a node not ready while its agent is away (CNI STATUS, CNI 1.1.0; older lists never ask).
    #[serde(default)]
    pub(crate) status_gating: bool,
}

/// Who redirects the mesh's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Mode {
    /// The node's CNI chain, from outside the pod.
    #[default]
    #[serde(rename = "CNI")]
    Cni,
    /// Each pod, by its own istio-init.
    InitContainer,
    /// As InitContainer, and the agents leave the nodes.
    Disabled,
}

/// What pods in excluded namespaces get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum ExcludedPolicy {
    /// An istio-init, also where the injector gave none.
    #[default]
    InitContainer,
    /// What the injector gave them.
    None,
}

/// How a pod of the mesh is known.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Selection {
    /// The name of the container that is the sidecar.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub(crate) proxy_container: String,
    /// The fewest containers a pod of the mesh has, the sidecar and native sidecars counted: 2, or 1 where a pod may be
    /// nothing but its sidecar.
    #[schemars(range(min = 1, max = 2))]
    pub(crate) min_containers: u32,
}

impl Default for Selection {
    fn default() -> Selection {
        Selection { proxy_container: "istio-proxy".to_owned(), min_containers: 2 }
    }
}

/// Where and how the agents install themselves. What is absent is found out on each node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Install {
    /// What kind of nodes these are; absent: told by each node's own facts, one DaemonSet for each kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    /// The way into the node's chain. InPlace: our entry in the owner's list. OwnList: a list of our own that comes first
    /// and follows the owner's. Auxiliary: a file in Multus's auxiliary chain. Absent: by who owns the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) way: Option<Way>,
    /// The directory of the runtime's lists, an absolute path; absent: as the runtime's configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^(/[^/]+)+$"))]
    #[schemars(extend("x-kubernetes-validations" = rules::plain_path()))]
    pub(crate) conf_dir: Option<String>,
    /// The directory of the runtime's plugins, an absolute path; absent: as the runtime's configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^(/[^/]+)+$"))]
    #[schemars(extend("x-kubernetes-validations" = rules::plain_path()))]
    pub(crate) bin_dir: Option<String>,
    /// The name of the list to join; absent: the one the runtime uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub(crate) list: Option<String>,
    /// The agents' image; absent: the controller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub(crate) image: Option<String>,
    /// Labels of the nodes that agents run on; empty: all nodes. A pod that selects other nodes keeps istio-init; one that
    /// may run on either kind is converted, and does not start on those.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) node_selector: BTreeMap<String, String>,
}

/// The ways into a node's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Way {
    /// Our entry in the owner's list.
    InPlace,
    /// A list of our own that comes first and follows the owner's.
    OwnList,
    /// A file in Multus's auxiliary chain.
    Auxiliary,
}

/// How changes reach the nodes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rollout {
    /// How many nodes may have their agent replaced at once: a number of at least 1, or a percentage of all, as in 10%.
    /// A node's old agent serves until its new one does (Kubernetes 1.22 and later).
    #[schemars(schema_with = "int_or_percent")]
    #[schemars(extend("x-kubernetes-validations" = rules::int_or_percent()))]
    pub(crate) max_unavailable: IntOrString,
    /// Labels of the nodes that get a change first; the rest follows once all of these serve. Empty: no canary.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) canary_node_selector: BTreeMap<String, String>,
    /// Whether a change stops where it is. Nodes that serve go on serving.
    pub(crate) paused: bool,
    /// How long a change may go without progress until it is called stalled, in seconds, 60 to 86400.
    #[schemars(range(min = 60, max = 86400))]
    pub(crate) progress_deadline_seconds: u32,
    /// Whether a stalled change is taken back to the last generation that was reached.
    pub(crate) auto_rollback: bool,
}

impl Default for Rollout {
    fn default() -> Rollout {
        Rollout {
            max_unavailable: IntOrString::Int(1),
            canary_node_selector: BTreeMap::new(),
            paused: false,
            progress_deadline_seconds: 600,
            auto_rollback: false,
        }
    }
}

/// What happens to a pod of the mesh whose decision cannot be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum FailurePolicy {
    /// It does not start.
    #[default]
    Closed,
    /// It starts, unprotected.
    Open,
}

/// What happens when a pod is admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Admission {
    /// What becomes of a pod that cannot work as it states its redirection. Warn: it is admitted with a warning. Deny: it
    /// is refused.
    pub(crate) invalid_pods: InvalidPods,
    /// What becomes of a pod while no webhook answers. Ignore: it is admitted as it is, which is safe where the injector
    /// adds istio-init. Fail: it is refused, which also stops pods outside the mesh.
    pub(crate) failure_policy: WebhookFailurePolicy,
}

/// What becomes of a pod that cannot work as it states its redirection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum InvalidPods {
    /// It is admitted with a warning.
    #[default]
    Warn,
    /// It is refused.
    Deny,
}

/// What becomes of a pod while no webhook answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum WebhookFailurePolicy {
    /// It is admitted as it is.
    #[default]
    Ignore,
    /// It is refused.
    Fail,
}

/// What is done about running pods that are not redirected as they should be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::label_is_there()))]
pub(crate) struct Audit {
    /// What is done with what is found. Off: nothing is looked for, and the agents run without any capability. Report: it
    /// is told, and nothing touched. Repair: rules are put right in the running pod. Delete: the pod is evicted, so that
    /// another starts redirected. Label: a label is put on the pod, for others to act upon.
    pub(crate) policy: AuditPolicy,
    /// Which findings are acted upon. Bypass: a pod of the mesh that is not redirected. Drift: rules that differ from
    /// what was planned.
    #[schemars(length(max = 2))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub(crate) findings: Vec<Finding>,
    /// The time between two looks at all pods of a node, in seconds, 30 to 86400.
    #[schemars(range(min = 30, max = 86400))]
    pub(crate) period_seconds: u32,
    /// The label that the policy Label puts on a pod, as key=value.
    #[schemars(
        length(max = 381),
        regex(pattern = r"^([-a-z0-9.]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?=[-A-Za-z0-9_.]*$")
    )]
    pub(crate) label: String,
}

impl Default for Audit {
    fn default() -> Audit {
        Audit {
            policy: AuditPolicy::Off,
            findings: vec![Finding::Bypass, Finding::Drift],
            period_seconds: 300,
            label: "millrace.dev/unredirected=true".to_owned(),
        }
    }
}

/// What is done with what is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum AuditPolicy {
    /// Nothing is looked for.
    #[default]
    Off,
    /// It is told.
    Report,
    /// Rules are put right in the running pod.
    Repair,
    /// The pod is evicted.
    Delete,
    /// A label is put on the pod.
    Label,
}

/// What may be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Finding {
    /// A pod of the mesh that is not redirected.
    Bypass,
    /// Rules that differ from what was planned.
    Drift,
}

/// The taint that keeps pods off a node which cannot serve yet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeTaint {
    /// Whether the controller takes the taint off nodes that serve, and puts it on nodes that lost the ability to.
    pub(crate) manage: bool,
    /// Its key; its effect is NoSchedule. Let new nodes register with it, and no pod starts on one before it serves.
    #[schemars(
        length(min = 1, max = 316),
        regex(pattern = r"^([-a-z0-9.]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
    )]
    pub(crate) key: String,
}

impl Default for NodeTaint {
    fn default() -> NodeTaint {
        NodeTaint { manage: true, key: "millrace.dev/not-ready".to_owned() }
    }
}

/// The system's own pods never wait for a mesh.
fn excluded_by_default() -> Vec<String> {
    vec!["kube-system".to_owned(), "istio-system".to_owned()]
}

fn ten() -> u32 {
    10
}

fn int_or_percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}
