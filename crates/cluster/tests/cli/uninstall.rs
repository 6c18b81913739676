//! `millrace uninstall` without a controller: what is removed, what is only named, and the proof in both languages.

use crate::cluster::{Cluster, on_each_uncontrolled};
use crate::program::golden;
use serde_json::{Value, json};

const HOME: &str = "millrace-system";

/// What an installation leaves, and what somebody else has beside it.
fn objects() -> Vec<Value> {
    let object = |api: &str, kind: &str, name: &str, home: bool, labels: Value, more: Value| {
        let mut object =
            json!({ "apiVersion": api, "kind": kind, "metadata": { "name": name, "labels": labels } });
        if home {
            object["metadata"]["namespace"] = json!(HOME);
        }
        for (field, value) in more.as_object().into_iter().flatten() {
            object[field] = value.clone();
        }
        object
    };
    let ours = json!({ "app.kubernetes.io/name": "millrace", "app.kubernetes.io/part-of": "millrace",
        "app.kubernetes.io/component": "controller" });
    let by_hand = json!({ "app.kubernetes.io/part-of": "millrace", "app.kubernetes.io/component": "agent" });
    let managed = json!({ "app.kubernetes.io/managed-by": "millrace-controller" });
    let runs = |labels: &Value, image: &str| {
        json!({ "spec": { "selector": { "matchLabels": labels }, "template": {
        "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": image }] } } } })
    };
    vec![
        object("apps/v1", "Deployment", "millrace-controller", true, ours.clone(), runs(&ours, "i")),
        object("v1", "ServiceAccount", "millrace-controller", true, ours.clone(), json!({})),
        object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "millrace-controller",
            false,
            ours.clone(),
            json!({ "rules": [] }),
        ),
        object("v1", "Secret", "millrace-webhook", true, managed.clone(), json!({})),
        object(
            "coordination.k8s.io/v1",
            "Lease",
            "millrace-controller",
            true,
            json!({}),
            json!({ "spec": { "holderIdentity": "" } }),
        ),
        object("v1", "ConfigMap", "left-over", true, managed, json!({})),
        object("v1", "ConfigMap", "somebody-elses", true, json!({}), json!({})),
        object("apps/v1", "DaemonSet", "millrace-agent", true, by_hand.clone(), runs(&by_hand, "i")),
    ]
}

fn marked() -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "unproved", "labels": { "millrace.dev/platform": "k3s" } },
        "spec": { "taints": [{ "key": "millrace.dev/not-ready", "effect": "NoSchedule" }] } })
}

#[test]
fn golden_uninstall() {
    on_each_uncontrolled("cli::golden_uninstall", golden_uninstall_on);
}

fn golden_uninstall_on(cluster: &Cluster) {
    // Other tests leave what is theirs on a server that is shared.
    cluster.kubectl(&["create", "namespace", HOME], "");
    cluster.kubectl(&["delete", "-n", HOME, "controllerrevisions,deployments", "--all"], "");
    cluster.kubectl(&["delete", "pods", "-A", "--all", "--force", "--grace-period=0"], "");
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": objects() }));
    cluster.create(&marked());
    cluster.run(&["enable", "--exclude=kube-system"]);
    let mut all = String::new();
    let mut say = |title: &str, args: &[&str]| {
        let said = cluster.run(args);
        all.push_str(&format!("== {title}: {}\n{}{}", said.status.unwrap_or(-1), said.out, said.err));
    };
    say("tried", &["uninstall", "--dry-run=server"]);
    let there = cluster.kubectl(&["get", "deployment", "-n", HOME, "millrace-controller"], "");
    assert!(there.status.success(), "a dry run removes nothing");
    say("done, and not clean", &["uninstall", "--prove-clean"]);
    let foreign =
        cluster.kubectl(&["get", "-n", HOME, "configmap/somebody-elses", "daemonset/millrace-agent"], "");
    assert!(foreign.status.success(), "{}", String::from_utf8_lossy(&foreign.stderr));
    cluster.done(&["delete", "daemonset", "-n", HOME, "millrace-agent"], "");
    cluster.done(&["delete", "node", "unproved"], "");
    say("clean", &["uninstall", "--prove-clean", "--lang=zh"]);
    let value: Value = serde_json::from_str(&cluster.run(&["uninstall", "--prove-clean", "-o", "json"]).out)
        .expect("it is JSON");
    assert_eq!(
        (&value["clean"], &value["done"], &value["removed"]),
        (&json!(true), &json!(true), &json!([]))
    );
    cluster.done(&["delete", "configmap", "-n", HOME, "somebody-elses"], "");
    golden("uninstall", &all);
}
