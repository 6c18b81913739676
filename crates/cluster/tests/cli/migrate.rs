//! `millrace migrate`: one workload after the other, until none owes a restart.

use crate::cluster::{Cluster, on_each};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Child;

const NAMESPACE: &str = "moved";

/// Two StatefulSets with a pod each that has istio-init still, and a bare pod.
fn objects() -> Vec<Value> {
    let set = |name: &str| {
        json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": name, "namespace": NAMESPACE },
            "spec": { "replicas": 1, "serviceName": name, "updateStrategy": { "type": "OnDelete" },
                "selector": { "matchLabels": { "app": name } },
                "template": { "metadata": { "labels": { "app": name } },
                    "spec": { "containers": [{ "name": "app", "image": "x" }] } } } })
    };
    let pod = |name: &str, owner: Option<&str>| {
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("{name}-old"), "namespace": NAMESPACE,
                "annotations": { "sidecar.istio.io/status": r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"# } },
            "spec": {
                "initContainers": [{ "name": "istio-init", "image": "proxyv2", "args": ["istio-iptables", "-p", "15001"] }],
                "containers": [{ "name": "app", "image": "x" },
                    { "name": "istio-proxy", "image": "proxyv2", "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 } }] } });
        if let Some(owner) = owner {
            pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner,
                "uid": "0f8fad5b-d9cb-469f-a165-70867728950e", "controller": true }]);
        }
        pod
    };
    vec![set("a"), set("b"), pod("a", Some("a")), pod("b", Some("b")), pod("bare", None)]
}

/// Says of a StatefulSet what its controller would once its pods are new.
fn roll(cluster: &Cluster, name: &str) {
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{name}");
    let mut set: Value =
        serde_json::from_str(&cluster.done(&["get", "--raw", &path], "")).expect("it is JSON");
    let generation = set["metadata"]["generation"].clone();
    set["status"] =
        json!({ "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1 });
    cluster.replace(&format!("{path}/status"), &set);
}

fn restarted(cluster: &Cluster, name: &str) -> bool {
    let path = "{.spec.template.metadata.annotations}";
    let args = ["get", "statefulset", name, "-n", NAMESPACE, "-o", &format!("jsonpath={path}")];
    cluster.done(&args, "").contains("restartedAt")
}

#[test]
fn workloads_are_restarted_one_after_the_other() {
    on_each("cli::workloads_are_restarted_one_after_the_other", migrate_on);
}

fn migrate_on(cluster: &Cluster) {
    let said = cluster.run(&["migrate"]);
    assert!(said.status == Some(2) && said.err.contains("there is no MeshCNI"), "{}", said.err);
    cluster.create(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } }));
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": objects() }));
    cluster.run(&["enable", "--exclude=kube-system"]);
    let planned = cluster.run(&["migrate", "--dry-run", "-n", NAMESPACE]);
    let bare = "moved/bare-old: nobody would start it again (MR4102)\n";
    let listed = format!("{bare}1/2 StatefulSet moved/a (1 pods)\n2/2 StatefulSet moved/b (1 pods)\n");
    assert_eq!((planned.status, planned.out), (Some(0), listed), "{}", planned.err);

    assert_eq!(cluster.run(&["migrate", "--pause"]).status, Some(0));
    let paused = cluster.run(&["migrate", "-n", NAMESPACE]);
    assert!(
        paused.status == Some(1) && paused.out.contains("1/2 StatefulSet moved/a: paused"),
        "{}",
        paused.out
    );
    assert!(!restarted(cluster, "a"));
    assert_eq!(cluster.run(&["migrate", "--resume"]).status, Some(0));

    let mut child = cluster.start(&["migrate", "-n", NAMESPACE]);
    let mut lines = lines(&mut child);
    assert_eq!(lines(), bare.trim_end());
    crate::cluster::until("a is restarted", || restarted(cluster, "a"));
    assert!(!restarted(cluster, "b"), "the second waits for the first");
    roll(cluster, "a");
    assert_eq!(lines(), "1/2 StatefulSet moved/a: restarted");
    crate::cluster::until("b is restarted", || restarted(cluster, "b"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert!(lines().starts_with("2/2 StatefulSet moved/b: interrupted"));
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    cluster.kubectl(
        &["delete", "statefulsets,pods", "--all", "-n", NAMESPACE, "--force", "--grace-period=0"],
        "",
    );
}

fn lines(child: &mut Child) -> impl FnMut() -> String + use<> {
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    move || lines.next().expect("a line").expect("text")
}
