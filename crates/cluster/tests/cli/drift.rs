//! `millrace drift`: nothing while all is as the controller wrote it, and each thing that somebody changed by name.

use crate::cluster::{Cluster, on_each};
use crate::program::{Said, command};
use millrace_rig::wait::until;
use serde_json::{Value, json};
use std::process::{Child, Stdio};
use std::time::Duration;

const HOME: &str = "millrace-system";

/// A cluster on which a controller has been at work; what it made goes with it.
struct Kept<'a> {
    cluster: &'a Cluster,
    controller: Option<Child>,
}

impl Kept<'_> {
    fn start(cluster: &Cluster) -> Kept<'_> {
        let mut command = command(&["controller", "--webhook-address", "none", "--metrics-address", "none"]);
        command.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["--identity", "drift"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Kept { cluster, controller: Some(command.spawn().expect("millrace runs")) }
    }

    fn stop(&mut self) {
        if let Some(mut controller) = self.controller.take() {
            controller.kill().expect("it runs");
            controller.wait().expect("it ends");
        }
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if self.controller.is_some() {
            self.stop();
        }
        let free = r#"{"metadata":{"finalizers":null}}"#;
        self.cluster.kubectl(&["patch", "meshcni", "default", "--type=merge", "-p", free], "");
        let kinds = "daemonsets,controllerrevisions,configmaps,serviceaccounts,clusterroles,clusterrolebindings,networkpolicies,resourcequotas";
        let ours = "app.kubernetes.io/managed-by=millrace-controller";
        self.cluster.kubectl(&["delete", kinds, "-A", "-l", ours, "--wait=false"], "");
        self.cluster.kubectl(&["delete", "lease", "millrace-controller", "-n", HOME], "");
        self.cluster.kubectl(&["delete", "node", "drifting"], "");
        self.cluster.kubectl(&["delete", "meshcninode", "drifting"], "");
    }
}

#[test]
fn what_somebody_changed_is_named() {
    on_each("cli::what_somebody_changed_is_named", drift_on);
}

fn drift_on(cluster: &Cluster) {
    let said = cluster.run(&["drift"]);
    assert!(said.status == Some(2) && said.err.contains("there is no MeshCNI"), "{}", said.err);
    cluster.create(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "drifting" } }));
    cluster.kubectl(&["create", "namespace", HOME], "");
    cluster.run(&["enable"]);
    let mut kept = Kept::start(cluster);
    until("the agents' objects are there, as they were written", Duration::from_secs(60), || {
        let said = cluster.run(&["drift"]);
        let made = cluster.done(&["get", "daemonsets", "-n", HOME, "-o", "name"], "");
        let written = said.out.contains("objects are as the controller would write them");
        let is_so =
            made.contains("daemonset.apps/millrace-agent-kubeadm") && written && said.status == Some(0);
        if is_so { Ok(()) } else { Err(format!("{made}{}{}", said.out, said.err)) }
    });
    kept.stop();

    let image = r#"[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"other:1"}]"#;
    let set = ["-n", HOME, "patch", "daemonset", "millrace-agent-kubeadm", "--type=json", "-p", image];
    cluster.done(&set, "");
    let annotated = ["annotate", "clusterrole", "millrace-agent", "mine=1"];
    cluster.done(&annotated, "");
    cluster.done(&["-n", HOME, "delete", "configmap", "millrace-agent-kubeadm"], "");
    drifts(cluster);
    let said = differs(cluster, &["drift", "-o", "json"]);
    let all: Value = serde_json::from_str(&said.out).expect("it is JSON");
    let objects = all["categories"][0]["checks"].to_string();
    for words in [
        "DaemonSet millrace-system/millrace-agent-kubeadm was changed",
        "other:1",
        "ClusterRole millrace-agent was changed",
        "metadata.annotations.mine: kubectl",
        "ConfigMap millrace-system/millrace-agent-kubeadm is not there",
        "MR4010",
    ] {
        assert!(objects.contains(words), "{words}: {objects}");
    }
    let people = differs(cluster, &["drift"]).out;
    assert!(people.contains("✗ MR2302 shop/web on drifting: rule 1 is missing"), "{people}");
    let chinese = differs(cluster, &["drift", "--lang=zh"]).out;
    assert!(chinese.contains("被修改过") && chinese.contains("drifting 上的 shop/web"), "{chinese}");
    let now = cluster.done(&["-n", HOME, "get", "daemonset", "millrace-agent-kubeadm", "-o", "json"], "");
    assert!(now.contains("other:1"), "it was looked at, and not put back");
}

/// A node whose agent says that a pod has drifted.
fn drifts(cluster: &Cluster) {
    let mut node = json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode",
        "metadata": { "name": "drifting" }, "spec": {} });
    cluster.create(&node);
    let path = "/apis/millrace.dev/v1alpha1/meshcninodes/drifting";
    let held: Value = serde_json::from_str(&cluster.done(&["get", "--raw", path], "")).expect("it is JSON");
    node["metadata"] = held["metadata"].clone();
    node["status"] = json!({ "serving": true, "reportedAt": "2026-01-01T00:00:00Z", "agentVersion": "0.1.0",
        "outcomes": { "redirected": 1, "skipped": 0, "failed": 0, "lastFailures": [] }, "conditions": [], "drifted": 1,
        "driftedPods": [{ "pod": "shop/web", "finding": "drift", "message": "rule 1 is missing" }] });
    cluster.replace(&format!("{path}/status"), &node);
}

fn differs(cluster: &Cluster, args: &[&str]) -> Said {
    let said = cluster.run(args);
    assert_eq!((said.status, said.err.as_str()), (Some(1), ""), "{}", said.out);
    said
}
