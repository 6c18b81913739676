//! `millrace status` and `millrace nodes`, in both languages.

use crate::cluster::{Cluster, condition, on_each};
use crate::program::{ageless, golden};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};

fn degraded() -> Value {
    let time = "2026-01-01T00:00:00Z";
    json!({
        "conditions": [
            condition("Ready", "False", "Degraded", "1 of 3 nodes does not serve: n3 (MR2104)"),
            condition("Reconciling", "False", "Stalled", "nothing moves; see Stalled"),
            condition("Stalled", "True", "ProgressDeadlineExceeded", "nothing has moved for 600 s"),
            condition("NodesConfigured", "False", "NodesFail", "2 of 3 nodes serve"),
            condition("InjectorSynced", "True", "InitContainers", "the injector adds istio-init"),
            condition("WorkloadsConverged", "False", "RestartDebt", "31 pods need a restart"),
            condition("DriftFree", "Unknown", "NotLookedAt", "nothing is looked for"),
        ],
        "nodes": { "desired": 3, "updated": 2, "ready": 2, "failed": 1, "absent": 0, "summary": "2/3" },
        "failingNodes": [{ "name": "n3", "code": "MR2104", "reason": "Cilium rewrites the list", "since": time }],
        "workloads": { "cni": 212, "initContainer": 18, "none": 3, "restartDebt": 31, "drifted": 0 },
        "operation": { "kind": "UpdateSettings", "generation": 2, "startedAt": time, "progressedAt": time, "deadline": time },
        "history": [
            { "generation": 2, "specHash": "ab", "summary": "excludeNamespaces", "by": "millrace-cli:alice", "at": time },
            { "generation": 1, "specHash": "cd", "summary": "created", "by": "kubectl", "at": time },
        ],
    })
}

#[test]
fn golden_status() {
    on_each("cli::golden_status", golden_status_on);
}

fn golden_status_on(cluster: &Cluster) {
    let check = |name: &str, args: &[&str], status: i32| {
        let said = cluster.run(args);
        assert_eq!((said.status, said.err.as_str()), (Some(status), ""), "{name}: {}", said.out);
        assert!(!said.out.contains('\x1b'), "no colour where nobody watches");
        golden(name, &ageless(&said.out));
    };
    check("status-none", &["status"], 0);
    cluster.run(&["enable", "--exclude=kube-system"]);
    check("status-unseen", &["status"], 0);
    cluster.report("Running", "Serving", json!({}));
    check("status-running", &["status"], 0);
    cluster.run(&["exclude", "set", "a,b,c,d,e,f,g,h,i,j"]);
    cluster.report("Degraded", "Installing", degraded());
    check("status-degraded", &["status"], 1);
    check("status-degraded-zh", &["status", "--lang=zh"], 1);
    check("status-degraded-wide", &["status", "-o", "wide"], 1);
    let json = cluster.run(&["status", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&json.out).expect("it is JSON")["status"]["phase"], "Degraded");
    assert!(cluster.run(&["status", "-o", "yaml"]).out.contains("\n  phase: Degraded\n"));
}

#[test]
fn golden_nodes() {
    on_each("cli::golden_nodes", golden_nodes_on);
}

fn golden_nodes_on(cluster: &Cluster) {
    assert_eq!(cluster.run(&["nodes"]).out, "no agent has reported yet\n");
    let time = "2026-01-01T00:00:00Z";
    let node = |name: &str, serving: bool| {
        json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": name }, "spec": {},
            "status": {
                "serving": serving, "reportedAt": time, "agentVersion": "0.1.0", "pluginVersion": "0.1.0",
                "configDigest": "0123456789abcdef",
                "chain": { "file": "/etc/cni/net.d/10-calico.conflist", "way": "InPlace", "digest": "fedcba9876543210",
                    "position": 3, "plugins": ["calico", "portmap", "bandwidth", "millrace-cni"] },
                "backend": "iptables", "drifted": 0,
                "outcomes": { "redirected": 12, "skipped": 40, "failed": 1,
                    "lastFailures": [{ "pod": "shop/cart-1", "message": "the agent did not answer", "at": time }] },
                "conditions": [condition("Ready", if serving { "True" } else { "False" }, "Fight", "undone by Cilium")],
            },
        })
    };
    for (name, serving) in [("n2", true), ("n1", false)] {
        let mut made = node(name, serving);
        cluster.create(&made);
        let path = format!("/apis/millrace.dev/v1alpha1/meshcninodes/{name}");
        let held = cluster.done(&["get", "--raw", &path], "");
        let held: Value = serde_json::from_str(&held).expect("an object is JSON");
        made["metadata"] = held["metadata"].clone();
        cluster.replace(&format!("{path}/status"), &made);
    }
    let check = |name: &str, args: &[&str], status: i32| {
        let said = cluster.run(args);
        assert_eq!((said.status, said.err.as_str()), (Some(status), ""), "{name}: {}", said.out);
        golden(name, &ageless(&said.out));
    };
    check("nodes", &["nodes"], 1);
    check("nodes-wide", &["nodes", "-o", "wide"], 1);
    check("nodes-one", &["nodes", "n1"], 1);
    check("nodes-one-zh", &["nodes", "n2", "--lang=zh"], 0);
    let json = cluster.run(&["nodes", "-o", "json"]);
    let list: Value = serde_json::from_str(&json.out).expect("it is JSON");
    assert_eq!((&list["kind"], &list["items"][0]["metadata"]["name"]), (&json!("List"), &json!("n1")));
}

#[test]
fn a_watched_status_is_shown_again_when_it_changes() {
    on_each(
        "cli::a_watched_status_is_shown_again_when_it_changes",
        a_watched_status_is_shown_again_when_it_changes_on,
    );
}

fn a_watched_status_is_shown_again_when_it_changes_on(cluster: &Cluster) {
    cluster.run(&["enable"]);
    let mut watching = cluster.start(&["status", "--watch"]);
    let mut lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
    let mut until = |wanted: &str| {
        lines.by_ref().map(|line| line.expect("text")).find(|line| line.contains(wanted)).is_some()
    };
    assert!(until("MeshCNI default  ‼ ?"));
    cluster.report("Updating", "Installing", json!({}));
    assert!(until("MeshCNI default  ‼ Updating (Installing)"));
    cluster.report("Running", "Serving", json!({}));
    assert!(until("MeshCNI default  ✓ Running (Serving)"));
    let pid = rustix::process::Pid::from_child(&watching);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert_eq!(watching.wait().expect("it ends").code(), Some(0));
}
