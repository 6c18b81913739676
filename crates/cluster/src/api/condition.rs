//! Conditions, as every Kubernetes object has them. Plain data; what they say is decided elsewhere.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// One condition.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    /// Which condition.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub(crate) kind: String,
    /// Whether it holds.
    pub(crate) status: ConditionStatus,
    /// Why, as one word for programs.
    #[schemars(length(max = 1024))]
    pub(crate) reason: String,
    /// Why, as a sentence for people.
    #[schemars(length(max = 32768))]
    pub(crate) message: String,
    /// Since when it has this status.
    #[schemars(schema_with = "time")]
    pub(crate) last_transition_time: Time,
    /// The generation of the object it was found for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) observed_generation: Option<i64>,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub(crate) enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

/// The schema of a moment.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// The schema of a moment that may be absent.
pub(super) fn some_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}
