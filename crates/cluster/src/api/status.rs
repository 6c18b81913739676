//! What the controller says of a cluster. Plain data; it is decided in `controller::status`.

use super::condition::{Condition, some_time, time};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the controller says of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MeshCNIStatus {
    /// The generation of the specification that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
    /// The generation that pods are admitted by: no webhook goes by an earlier one any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admitted_generation: Option<i64>,
    /// Where the cluster is. Disabled: no agent is wanted, and none is left. Updating: on its way to what is wanted.
    /// Running: there. Degraded: it was there, or cannot get there; the conditions say why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<Phase>,
    /// The state of the transition, finer than the phase; see docs/control-plane.md.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<State>,
    /// Ready, Reconciling, Stalled, NodesConfigured, InjectorSynced, WorkloadsConverged, DriftFree, NoChainConflict.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub(crate) conditions: Vec<Condition>,
    /// Nodes by what they can do.
    pub(crate) nodes: NodeCounts,
    /// Nodes that keep the cluster from where it should be; the first ten by name.
    #[schemars(length(max = 10))]
    pub(crate) failing_nodes: Vec<FailingNode>,
    /// Pods of the mesh by who redirects them.
    pub(crate) workloads: Workloads,
    /// The change that is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) operation: Option<Operation>,
    /// The last five changes, the latest first.
    #[schemars(length(max = 5))]
    pub(crate) history: Vec<Change>,
    /// The revision of the last generation that was reached, for a rollback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_good_revision: Option<i64>,
}

/// Where a cluster is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub(crate) enum Phase {
    /// No agent is wanted, and none is left.
    #[default]
    Disabled,
    /// On its way.
    Updating,
    /// There.
    Running,
    /// It was there, or cannot get there.
    Degraded,
}

/// The states of a transition. Pods are converted in Serving alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub(crate) enum State {
    /// No agent is on any node; pods redirect themselves.
    #[default]
    Absent,
    /// Agents are being installed; pods still redirect themselves.
    Installing,
    /// All targeted nodes serve, and pods are converted.
    Serving,
    /// Pods redirect themselves again; nodes go on serving those that were converted.
    Draining,
    /// No pod depends on the agents any more; they leave the nodes.
    Removing,
}

/// Nodes by what they can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct NodeCounts {
    /// Nodes that should serve.
    pub(crate) desired: u32,
    /// Nodes whose agent has what is wanted now.
    pub(crate) updated: u32,
    /// Nodes that serve.
    pub(crate) ready: u32,
    /// Nodes that should serve, are Ready, and do not.
    pub(crate) failed: u32,
    /// Nodes that should serve and are not Ready themselves.
    pub(crate) absent: u32,
    /// Ready and desired, for the table of kubectl get.
    pub(crate) summary: String,
}

/// A node that keeps the cluster from where it should be.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailingNode {
    /// The node.
    pub(crate) name: String,
    /// What is wrong, for `millrace explain MRnnnn`.
    pub(crate) code: String,
    /// What is wrong, as a sentence.
    pub(crate) reason: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "some_time")]
    pub(crate) since: Option<Time>,
}

/// Pods of the mesh by who redirects them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Workloads {
    /// Redirected by the CNI chain.
    pub(crate) cni: u32,
    /// Redirected by their own istio-init.
    pub(crate) init_container: u32,
    /// Redirected by nobody.
    pub(crate) none: u32,
    /// Pods that get what is wanted only when they are restarted.
    pub(crate) restart_debt: u32,
    /// Pods whose rules differ from what was planned, as the agents say.
    pub(crate) drifted: u32,
}

/// The change that is on its way.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation {
    /// What is being done: Enable, Disable, UpdateSettings, Upgrade, Rollback or Uninstall.
    pub(crate) kind: String,
    /// The generation it leads to.
    pub(crate) generation: i64,
    /// When it began.
    #[schemars(schema_with = "time")]
    pub(crate) started_at: Time,
    /// When something last moved; where another controller took over since, when it did.
    #[schemars(schema_with = "time")]
    pub(crate) progressed_at: Time,
    /// When it is called stalled if nothing moves. What counts is how long the controller has watched, not the clock.
    #[schemars(schema_with = "time")]
    pub(crate) deadline: Time,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    /// The generation it made.
    pub(crate) generation: i64,
    /// The digest of its specification: the first 16 hexadecimal digits of SHA-256.
    pub(crate) spec_hash: String,
    /// What changed, as in mode, excludeNamespaces.
    pub(crate) summary: String,
    /// Who made it, as the API server knows its field managers.
    pub(crate) by: String,
    /// When.
    #[schemars(schema_with = "time")]
    pub(crate) at: Time,
}
