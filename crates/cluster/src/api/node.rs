//! `MeshCNINode`: what one node's agent says of its node. Plain data.

use super::condition::{Condition, some_time, time};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Nothing is wanted of a node by itself: it has what the MeshCNI says.
#[derive(Clone, Debug, Default, PartialEq, CustomResource, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "millrace.dev",
    version = "v1alpha1",
    kind = "MeshCNINode",
    plural = "meshcninodes",
    singular = "meshcninode",
    shortname = "mcninode",
    category = "mesh",
    status = "MeshCNINodeStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "MeshCNINode is one node's report: what its agent installed, and how pods' starts went. Its name is the node's.",
    printcolumn = r#"{ "name": "Serving", "type": "boolean", "jsonPath": ".status.serving" }"#,
    printcolumn = r#"{ "name": "Version", "type": "string", "jsonPath": ".status.agentVersion" }"#,
    printcolumn = r#"{ "name": "List", "type": "string", "jsonPath": ".status.chain.file" }"#,
    printcolumn = r#"{ "name": "Backend", "type": "string", "jsonPath": ".status.backend" }"#,
    printcolumn = r#"{ "name": "Redirected", "type": "integer", "jsonPath": ".status.outcomes.redirected" }"#,
    printcolumn = r#"{ "name": "Failed", "type": "integer", "jsonPath": ".status.outcomes.failed" }"#,
    printcolumn = r#"{ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" }"#
)]
pub(crate) struct MeshCNINodeSpec {}

/// What an agent says of its node.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MeshCNINodeStatus {
    /// Whether pods that start here are redirected.
    pub(crate) serving: bool,
    /// When the agent last said so; it does when something changes, and every five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "some_time")]
    pub(crate) reported_at: Option<Time>,
    /// The agent's version.
    pub(crate) agent_version: String,
    /// The version of the installed plugin, which is the agent's own; absent while it does not answer or is not in the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plugin_version: Option<String>,
    /// The digest of the configuration the agent follows: the first 16 hexadecimal digits of SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config_digest: Option<String>,
    /// The node's chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chain: Option<Chain>,
    /// How rules are put into this node's kernel; absent until the first pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
    /// How pods' starts went since this agent serves. Counts alone are told every five minutes.
    pub(crate) outcomes: Outcomes,
    /// Running pods whose rules differ from what was planned; absent where nobody counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drifted: Option<u32>,
    /// The first ten of these pods by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub(crate) drifted_pods: Vec<DriftedPod>,
    /// Ready, ChainConfigured, NoChainConflict, Audited.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub(crate) conditions: Vec<Condition>,
}

/// A running pod whose rules differ from what was planned.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DriftedPod {
    /// The pod, as namespace/name.
    pub(crate) pod: String,
    /// What was found: bypass, where nothing redirects it, or drift, where its rules differ.
    pub(crate) finding: String,
    /// What differs.
    #[schemars(length(max = 256))]
    pub(crate) message: String,
}

/// A node's chain as it is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Chain {
    /// The file of the list.
    pub(crate) file: String,
    /// The way into it: InPlace, OwnList or Auxiliary.
    pub(crate) way: String,
    /// The digest of the file: the first 16 hexadecimal digits of SHA-256.
    pub(crate) digest: String,
    /// Where our entry stands, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<u32>,
    /// The types of all entries, in their order.
    #[schemars(length(max = 64))]
    pub(crate) plugins: Vec<String>,
}

/// How pods' starts went.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Outcomes {
    /// Pods redirected.
    pub(crate) redirected: u64,
    /// Pods left alone.
    pub(crate) skipped: u64,
    /// Starts that failed.
    pub(crate) failed: u64,
    /// The last failures, the latest first; at most five.
    #[schemars(length(max = 5))]
    pub(crate) last_failures: Vec<Failure>,
}

/// A start that failed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    /// The pod, as namespace/name.
    pub(crate) pod: String,
    /// What went wrong.
    #[schemars(length(max = 1024))]
    pub(crate) message: String,
    /// When.
    #[schemars(schema_with = "time")]
    pub(crate) at: Time,
}
