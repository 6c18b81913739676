//! Workloads as an API server has them: their kinds, and whether one has become what its template says. PURE.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::core::ApiResource;
use serde_json::Value;

/// How an API server is asked for a kind of workloads that can be restarted.
pub(crate) fn resource(kind: &str) -> Option<ApiResource> {
    match kind {
        "Deployment" => Some(ApiResource::erase::<Deployment>(&())),
        "StatefulSet" => Some(ApiResource::erase::<StatefulSet>(&())),
        "DaemonSet" => Some(ApiResource::erase::<DaemonSet>(&())),
        _ => None,
    }
}

/// Whether all of a workload's pods are of its present template, and available (as `kubectl rollout status` tells it).
pub(crate) fn is_ready(kind: &str, workload: &Value) -> bool {
    let status = &workload["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    let generation = workload["metadata"]["generation"].as_i64().unwrap_or_default();
    if count("observedGeneration") < generation {
        return false;
    }
    let wanted = workload["spec"]["replicas"].as_i64().unwrap_or(1);
    match kind {
        "DaemonSet" => {
            let wanted = count("desiredNumberScheduled");
            count("updatedNumberScheduled") >= wanted && count("numberAvailable") >= wanted
        }
        "StatefulSet" => count("updatedReplicas") >= wanted && count("readyReplicas") >= wanted,
        _ => {
            let updated = count("updatedReplicas");
            updated >= wanted && count("replicas") <= updated && count("availableReplicas") >= wanted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_is_ready_when_all_pods_are_new_and_available() {
        let check = |kind: &str, status: Value, expected: bool| {
            let workload =
                json!({ "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": status });
            assert_eq!(is_ready(kind, &workload), expected, "{workload}");
        };
        let deployment = |observed: i64, replicas: i64, updated: i64, available: i64| json!({ "observedGeneration": observed, "replicas": replicas, "updatedReplicas": updated, "availableReplicas": available });
        check("Deployment", deployment(2, 2, 2, 2), true);
        check("Deployment", deployment(1, 2, 2, 2), false);
        check("Deployment", deployment(2, 3, 2, 2), false);
        check("Deployment", deployment(2, 2, 2, 1), false);
        check(
            "StatefulSet",
            json!({ "observedGeneration": 2, "updatedReplicas": 2, "readyReplicas": 2 }),
            true,
        );
        check(
            "StatefulSet",
            json!({ "observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 2 }),
            false,
        );
        let set = |available: i64| json!({ "observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": available });
        check("DaemonSet", set(3), true);
        check("DaemonSet", set(2), false);
    }
}
