//! A cluster as people have them, made by hand: nodes with their reports, namespaces, pods of the mesh, and what was wanted before.
//!
//! It has no controllers: each test says what the controller would say of it.

use crate::cluster::{Cluster, condition};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// The nodes.
pub(crate) const NODES: [&str; 6] = ["control-1", "worker-1", "worker-2", "worker-3", "worker-4", "worker-5"];
/// Namespaces, with what their labels say of injection.
const NAMESPACES: [(&str, &str); 8] = [
    ("bookinfo", "enabled"),
    ("checkout", "enabled"),
    ("ingress", ""),
    ("istio-system", ""),
    ("legacy", "enabled"),
    ("millrace-system", ""),
    ("monitoring", "disabled"),
    ("payments", "enabled"),
];
/// Who works there, and how many pods each has.
const WORKLOADS: [(&str, &str, usize); 14] = [
    ("bookinfo", "details-v1", 2),
    ("bookinfo", "productpage-v1", 3),
    ("bookinfo", "ratings-v1", 2),
    ("bookinfo", "reviews-v1", 1),
    ("bookinfo", "reviews-v2", 1),
    ("bookinfo", "reviews-v3", 2),
    ("checkout", "cart", 3),
    ("checkout", "orders", 2),
    ("ingress", "gateway", 2),
    ("legacy", "billing", 2),
    ("legacy", "ledger", 1),
    ("payments", "authorizer", 3),
    ("payments", "fraud-check", 2),
    ("payments", "receipts", 2),
];

/// Who redirects the pods.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Each pod itself.
    Themselves,
    /// The node's chain, but for the namespace `legacy`.
    Cni,
    /// The same, but for pods of the namespace `payments` that were not restarted since.
    CniButSome,
}

/// Puts all of it there but the MeshCNI.
pub(crate) fn build(cluster: &Cluster, by: By) {
    let mut all: Vec<Value> = Vec::new();
    for (name, injection) in NAMESPACES {
        let labels = if injection.is_empty() { json!({}) } else { json!({ "istio-injection": injection }) };
        all.push(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } }));
    }
    for name in NODES {
        all.push(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
            "status": { "conditions": [condition("Ready", "True", "KubeletReady", "kubelet is ready")] } }));
    }
    let pods = WORKLOADS.iter().flat_map(|(namespace, workload, count)| {
        (0..*count).map(move |number| pod(namespace, workload, number, by))
    });
    all.extend(pods);
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": all }));
    if by != By::Themselves {
        install(cluster);
    }
}

/// Says of every node that its agent serves.
pub(crate) fn install(cluster: &Cluster) {
    let report = |name: &str| json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": name }, "spec": {} });
    let reports: Vec<Value> = NODES.into_iter().map(report).collect();
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": reports }));
    for name in NODES {
        self::report(cluster, name, json!({}));
    }
}

fn pod(namespace: &str, workload: &str, number: usize, by: By) -> Value {
    let hash = ["6c9f8d7b5", "7d4b9c6f8", "5f7c8b9d4"][workload.len() % 3];
    let name = format!("{workload}-{hash}-{}", ["x2k9q", "m7vdl", "t4wzp"][number % 3]);
    let is_cni = match by {
        By::Themselves => false,
        By::Cni => namespace != "legacy",
        By::CniButSome => !["legacy", "payments"].contains(&namespace),
    };
    let init = if is_cni { "istio-validation" } else { "istio-init" };
    let node = NODES[1 + (workload.len() + number) % (NODES.len() - 1)];
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": workload, "pod-template-hash": hash },
            "annotations": { "sidecar.istio.io/status": format!(r#"{{"initContainers":["{init}"],"containers":["istio-proxy"]}}"#) },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{workload}-{hash}"),
                "controller": true, "uid": "0f8fad5b-d9cb-469f-a165-70867728950e" }] },
        "spec": { "nodeName": node,
            "initContainers": [{ "name": init, "image": "proxyv2:1.27.1", "args": millrace_rig::injector::told() }],
            "containers": [
                { "name": workload, "image": format!("registry.example/{workload}:1.4.2"), "ports": [{ "containerPort": 9080 }] },
                { "name": "istio-proxy", "image": "proxyv2:1.27.1", "args": ["proxy", "sidecar"],
                  "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 } },
            ] },
        "status": { "phase": "Running" },
    });
    if is_cni {
        pod["metadata"]["annotations"]["millrace.dev/redirect"] = json!(r#"{"v":1,"redirect":{}}"#);
    }
    pod
}

/// Says of a node what its agent would, but for what differs.
pub(crate) fn report(cluster: &Cluster, name: &str, more: Value) {
    let path = format!("/apis/millrace.dev/v1alpha1/meshcninodes/{name}");
    let mut node: Value =
        serde_json::from_str(&cluster.done(&["get", "--raw", &path], "")).expect("an object is JSON");
    let number = NODES.iter().position(|known| *known == name).unwrap_or_default() as u64;
    let since = |kind: &str, reason: &str, message: &str| {
        let mut one = condition(kind, "True", reason, message);
        one["lastTransitionTime"] = json!(ago(3 * 24 * 60));
        one
    };
    let mut status = json!({
        "serving": true, "reportedAt": ago(1), "agentVersion": "0.1.0", "pluginVersion": "0.1.0",
        "configDigest": "9f2c4e1ab07d5536", "backend": "nft",
        "chain": { "file": "10-calico.conflist", "way": "InPlace", "digest": "3b1d9e7ac4f08652", "position": 3,
            "plugins": ["calico", "bandwidth", "portmap", "millrace-cni"] },
        "outcomes": { "redirected": 41 + 7 * number, "skipped": 12 + number, "failed": 0, "lastFailures": [] },
        "conditions": [
            since("Ready", "Serving", "pods that start here are redirected"),
            since("ChainConfigured", "InPlace", "10-calico.conflist ends with millrace-cni"),
            since("NoChainConflict", "Quiet", "nobody else wrote the list for three days"),
        ],
    });
    set(&mut status, more);
    node["status"] = status;
    cluster.replace(&format!("{path}/status"), &node);
}

/// The time that conditions of other tests have.
const NEW_YEAR: &str = "2026-01-01T00:00:00Z";

/// Says of the present generation what a controller would, but for what differs.
pub(crate) fn tell(cluster: &Cluster, phase: &str, state: &str, more: Value) {
    let generation = cluster.mesh()["metadata"]["generation"].as_i64().expect("a generation");
    let (all, ready) = (NODES.len(), NODES.len());
    let since = |kind: &str, status: &str, reason: &str, message: &str, minutes: i64| {
        let mut one = condition(kind, status, reason, message);
        one["lastTransitionTime"] = json!(ago(minutes));
        one
    };
    let is_there = if matches!(phase, "Running" | "Disabled") { "True" } else { "False" };
    let mut told = json!({
        "conditions": [
            since("Ready", is_there, phase, &format!("{ready} of {all} nodes serve"), 42),
            since("NodesConfigured", "True", "AllServe", &format!("{ready} of {all} nodes serve"), 42),
            since("InjectorSynced", "True", "Converting", "istiod default is known; pods are converted as they are admitted", 41),
            since("WorkloadsConverged", "True", "Converged", "every pod of the mesh has what is wanted", 12),
            since("NoChainConflict", "True", "Quiet", "nobody else writes a node's list", 3 * 24 * 60),
        ],
        "nodes": { "desired": all, "updated": all, "ready": ready, "failed": 0, "absent": 0, "summary": format!("{ready}/{all}") },
        "workloads": { "cni": 25, "initContainer": 3, "none": 0, "restartDebt": 0, "drifted": 0 },
        "history": past(generation),
        "lastGoodRevision": 3,
    });
    set(&mut told, more);
    for one in told["conditions"].as_array_mut().into_iter().flatten() {
        // What a test says without a time happened just now.
        if one["lastTransitionTime"] == NEW_YEAR {
            one["lastTransitionTime"] = json!(ago(2));
        }
    }
    cluster.report(phase, state, told);
}

/// Keeps what was wanted before, as a controller does: five revisions, the last of them what is wanted now.
pub(crate) fn remember(cluster: &Cluster) {
    let excluded = ["kube-system", "istio-system", "legacy", "payments"];
    let specs = [
        json!({ "mode": "InitContainer" }),
        json!({ "excludeNamespaces": excluded }),
        json!({ "excludeNamespaces": excluded, "rollout": { "maxUnavailable": "10%" } }),
        cluster.mesh()["spec"].clone(),
    ];
    for (number, spec) in (1..).zip(specs) {
        cluster.create(&json!({
            "apiVersion": "apps/v1", "kind": "ControllerRevision",
            "metadata": { "name": format!("millrace-{number}"), "namespace": "millrace-system",
                "labels": { "app.kubernetes.io/managed-by": "millrace-controller" },
                "annotations": { "millrace.dev/generation": (number + 3).to_string() } },
            "revision": number, "data": { "spec": spec, "image": "registry.example/millrace:0.1.0" },
        }));
    }
}

/// What changed up to a generation, the latest first.
fn past(generation: i64) -> Value {
    let said = [
        ("excludeNamespaces", "millrace-cli:ada", 43),
        ("rollout", "gitops", 190),
        ("mode", "millrace-cli:grace", 1500),
    ];
    let one = |(at, (summary, by, minutes)): (i64, (&str, &str, i64))| json!({ "generation": generation - at, "specHash": "0f3a", "summary": summary, "by": by, "at": ago(minutes) });
    let kept = (0..).zip(said).filter(|(at, _)| generation - at > 0);
    kept.map(one).collect()
}

/// A moment so many minutes ago, as objects have it.
pub(crate) fn ago(minutes: i64) -> String {
    let then = Timestamp::now() - SignedDuration::from_mins(minutes);
    Timestamp::from_second(then.as_second()).expect("a moment of this century").to_string()
}

fn set(object: &mut Value, more: Value) {
    for (field, value) in more.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
}
