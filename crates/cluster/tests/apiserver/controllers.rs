//! What the server in memory makes of workloads: the real one has no controllers of its own. Nodes and kubelets are played here.

use crate::asked::{json, namespace};
use millrace_rig::embedded::{Embedded, Server};
use millrace_rig::wait::until;
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn started() -> Server {
    let server = Server::Embedded(Embedded::start(env!("CARGO_BIN_EXE_millrace"), &[]));
    for name in ["n1", "n2"] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                          "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        server.done(&["create", "--validate=false", "-f", "-"], &node.to_string());
    }
    server
}

fn create(server: &Server, namespace: &str, object: &Value) {
    server.done(&["create", "--validate=false", "-n", namespace, "-f", "-"], &object.to_string());
}

fn list(server: &Server, namespace: &str, kind: &str) -> Vec<Value> {
    let found = json(server, &["get", kind, "-n", namespace], &Value::Null);
    found["items"].as_array().cloned().unwrap_or_default()
}

/// One round of the kubelets: what is bound runs, what is leaving is gone. The pods there were.
fn kubelets(server: &Server, namespace: &str) -> Vec<Value> {
    let pods = list(server, namespace, "pods");
    for pod in &pods {
        let name = pod["metadata"]["name"].as_str().expect("a pod has a name");
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            server.kubectl(&["delete", "pod", name, "-n", namespace, "--grace-period=0", "--force"], "");
        } else if pod["spec"]["nodeName"].is_string() && pod["status"]["phase"] == "Pending" {
            let ready = json!([{"type": "Ready", "status": "True"}]);
            let mut pod = pod.clone();
            pod["status"] = json!({"phase": "Running", "podIP": "192.0.2.1", "conditions": ready});
            // Not by `patch --subresource`, which kubectl has since 1.24 alone.
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
            server.kubectl(&["replace", "--raw", &path, "-f", "-"], &pod.to_string());
        }
    }
    pods
}

/// Plays the kubelets until there are `count` pods, all running.
fn run(server: &Server, namespace: &str, count: usize) {
    until("all pods run", PATIENCE, || {
        let pods = kubelets(server, namespace);
        let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running").count();
        if running == count && pods.len() == count {
            Ok(())
        } else {
            Err(format!("{running} of {}", pods.len()))
        }
    });
}

fn template(label: &str) -> Value {
    json!({"metadata": {"labels": {"app": label}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

#[test]
fn deployments_become_pods_and_go_with_them() {
    let server = started();
    let namespace = namespace(&server);
    let spec = json!({"replicas": 3, "selector": {"matchLabels": {"app": "a"}}, "template": template("a")});
    create(
        &server,
        &namespace,
        &json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}),
    );
    let service = json!({"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": 8080}]});
    create(
        &server,
        &namespace,
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": service}),
    );
    run(&server, &namespace, 3);
    server
        .done(&["wait", "--for=condition=Available", "deployment/d", "-n", &namespace, "--timeout=60s"], "");
    let pods = list(&server, &namespace, "pods");
    assert!(pods.iter().all(|pod| pod["metadata"]["labels"]["pod-template-hash"].is_string()));
    until("the service has endpoints", PATIENCE, || {
        let endpoints = json(&server, &["get", "endpoints", "s", "-n", &namespace], &Value::Null);
        let count = endpoints["subsets"][0]["addresses"].as_array().map_or(0, Vec::len);
        if count == 3 && endpoints["subsets"][0]["ports"][0]["port"] == 8080 {
            Ok(())
        } else {
            Err(endpoints.to_string())
        }
    });
    server.done(&["set", "image", "deployment/d", "c=i:2", "-n", &namespace], "");
    until("all pods are new", PATIENCE, || {
        let pods = kubelets(&server, &namespace);
        let new = pods.iter().filter(|pod| pod["spec"]["containers"][0]["image"] == "i:2").count();
        if new == 3 && pods.len() == 3 { Ok(()) } else { Err(format!("{new} of {}", pods.len())) }
    });
    server.done(&["delete", "deployment", "d", "-n", &namespace], "");
    run(&server, &namespace, 0);
    assert!(list(&server, &namespace, "replicasets").is_empty());
}

#[test]
fn daemons_are_on_every_node_and_a_namespace_is_emptied() {
    let server = started();
    let namespace = namespace(&server);
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template("a")});
    create(
        &server,
        &namespace,
        &json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": spec}),
    );
    run(&server, &namespace, 2);
    let budget = json!({"selector": {"matchLabels": {"app": "a"}}, "minAvailable": 2});
    create(
        &server,
        &namespace,
        &json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": budget}),
    );
    until("the budget is known", PATIENCE, || {
        let budget = json(&server, &["get", "pdb", "b", "-n", &namespace], &Value::Null);
        if budget["status"]["desiredHealthy"] == 2 { Ok(()) } else { Err(budget.to_string()) }
    });
    let pods = list(&server, &namespace, "pods");
    let name = pods[0]["metadata"]["name"].as_str().unwrap();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}});
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
    let said = server.kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("Cannot evict pod as it would violate the pod's disruption budget."), "{said}");
    server.done(&["delete", "namespace", &namespace, "--wait=false"], "");
    until("the namespace is gone", PATIENCE, || {
        kubelets(&server, &namespace);
        let found = server.kubectl(&["get", "namespace", &namespace], "");
        if found.status.success() { Err("it is there".to_owned()) } else { Ok(()) }
    });
}
