//! Objects as large as those of a real cluster, for benches: what is small in a test is not what is kept, sent and parsed.

use serde_json::{Value, json};

/// A pod as an injector leaves it, without a namespace or a node.
pub fn injected_pod(name: &str) -> Value {
    let environment: Vec<Value> = (0..40)
        .map(|at| json!({ "name": format!("ISTIO_META_SETTING_{at}"), "value": format!("value-{at}-{}", "x".repeat(40)) }))
        .collect();
    json!({
        "metadata": {
            "name": name,
            "labels": { "app": "reviews", "version": "v1", "security.istio.io/tlsMode": "istio" },
            "annotations": {
                "sidecar.istio.io/status": r#"{"initContainers":["istio-validation"],"containers":["istio-proxy"],"volumes":["workload-socket","istio-envoy","istio-data","istio-podinfo","istio-token","istiod-ca-cert"],"revision":"default"}"#,
                "prometheus.io/path": "/stats/prometheus",
                "kubectl.kubernetes.io/default-container": "reviews",
            },
        },
        "spec": {
            "automountServiceAccountToken": false,
            "initContainers": [{ "name": "istio-validation", "image": "proxyv2", "args": ["istio-iptables", "-p", "15001"] }],
            "containers": [
                { "name": "reviews", "image": "reviews:v1", "ports": [{ "containerPort": 9080 }], "env": environment },
                { "name": "istio-proxy", "image": "proxyv2", "args": ["proxy", "sidecar"], "env": environment,
                  "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 } },
            ],
        },
    })
}

/// A node that is Ready, with the images and labels that kubelets and clouds give one.
pub fn node(name: &str) -> Value {
    let images: Vec<Value> = (0..30)
        .map(|at| {
            let image = format!("registry.example/platform/component-{at}");
            let digest = format!("{image}@sha256:{}", format!("{at:02x}").repeat(32));
            json!({ "names": [digest, format!("{image}:v1.{at}")], "sizeBytes": 104_857_600 + at })
        })
        .collect();
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Played", "message": "as the kubelet says",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux", "kubernetes.io/hostname": name, "node.kubernetes.io/instance-type": "m6.large",
                "topology.kubernetes.io/region": "north-1", "topology.kubernetes.io/zone": "north-1a",
            },
            "annotations": {
                "csi.volume.kubernetes.io/nodeid": format!("{{\"disk.example\":\"i-{name}\"}}"),
                "node.alpha.kubernetes.io/ttl": "30",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": { "podCIDR": "192.0.2.0/24", "providerID": format!("cloud://north-1a/i-{name}") },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": "192.0.2.7" }, { "type": "Hostname", "address": name }],
            "allocatable": { "cpu": "7910m", "memory": "30Gi", "pods": "110", "ephemeral-storage": "95Gi" },
            "capacity": { "cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi" },
            "conditions": [
                condition("MemoryPressure", "False"), condition("DiskPressure", "False"),
                condition("PIDPressure", "False"), condition("Ready", "True"),
            ],
            "images": images,
            "nodeInfo": {
                "architecture": "amd64", "bootID": "b", "containerRuntimeVersion": "containerd://1.7.24",
                "kernelVersion": "6.1", "kubeProxyVersion": "v1.31.4", "kubeletVersion": "v1.31.4", "machineID": "m",
                "operatingSystem": "linux", "osImage": "Debian GNU/Linux 12", "systemUUID": "s",
            },
        },
    })
}
