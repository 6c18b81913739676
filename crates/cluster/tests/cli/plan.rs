//! `millrace plan`: exactly the pods that the webhook then changes.

use crate::cluster::{Cluster, on_each};
use crate::program::golden;
use millrace_rig::injector::told;
use serde_json::{Value, json};

/// Bookinfo as an injector with istio-init leaves it: of the six pods one has an init container that needs the network.
fn bookinfo() -> Vec<Value> {
    let names = ["details-v1", "productpage-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3"];
    let pods = names.iter().map(|name| {
        let owner = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-7d9c"), "controller": true,
            "uid": "0f8fad5b-d9cb-469f-a165-70867728950e" });
        let init = json!({ "name": "istio-init", "image": "proxyv2:1.14", "args": told(),
            "securityContext": { "runAsUser": 0, "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] } } });
        let setup = json!({ "name": "fetch", "image": "curl" });
        let inits = if *name == "ratings-v1" { vec![setup, init] } else { vec![init] };
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": format!("{name}-7d9c-x"), "namespace": "default", "labels": { "pod-template-hash": "7d9c" },
                "annotations": { "sidecar.istio.io/status": r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"# },
                "ownerReferences": [owner] },
            "spec": { "initContainers": inits, "containers": [
                { "name": name.split('-').next(), "image": format!("examples-bookinfo-{name}") },
                { "name": "istio-proxy", "image": "proxyv2:1.14", "args": ["proxy", "sidecar"],
                  "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 } },
            ] },
        })
    });
    let outside = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "plain", "namespace": "default" },
        "spec": { "containers": [{ "name": "app", "image": "x" }] } });
    pods.chain([outside]).collect()
}

#[test]
fn golden_plan_lists_what_then_changes() {
    on_each("cli::golden_plan_lists_what_then_changes", plan_on);
}

fn plan_on(cluster: &Cluster) {
    cluster.kubectl(&["delete", "pods", "--all", "--force", "--grace-period=0", "-n", "default"], "");
    assert_eq!(cluster.run(&["plan"]).status, Some(0), "there is nothing to change");
    let mut pods = bookinfo();
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": pods }));
    let check = |name: &str, args: &[&str], status: i32| {
        let said = cluster.run(args);
        assert_eq!((said.status, said.err.as_str()), (Some(status), ""), "{name}: {}", said.out);
        golden(name, &said.out);
    };
    check("plan", &["plan"], 1);
    check("plan-zh", &["plan", "--lang=zh"], 1);
    check("plan-excluded", &["plan", "--exclude=kube-system,default"], 0);
    let planned: Value = serde_json::from_str(&cluster.run(&["plan", "-o", "json"]).out).expect("it is JSON");
    let planned: Vec<&str> =
        planned["changes"].as_array().expect("a list").iter().filter_map(|one| one["pod"].as_str()).collect();
    // What the webhook does to each of them when it is made anew.
    let file = std::env::temp_dir().join(format!("millrace-plan-{}.json", std::process::id()));
    let mut changed = Vec::new();
    for pod in &mut pods {
        std::fs::write(&file, pod.to_string()).expect("a file");
        let admitted =
            crate::program::run(&["inject", "-f", file.to_str().expect("a plain path"), "-o", "json"]);
        let admitted: Value = serde_json::from_str(&admitted.out).expect("it is JSON");
        let inits = admitted["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
        if inits.iter().any(|one| one["name"] == "istio-validation") {
            changed.push(pod["metadata"]["name"].as_str().expect("a name").to_owned());
        }
        *pod = admitted;
    }
    let _ = std::fs::remove_file(&file);
    assert_eq!(planned, changed);

    // Once they are all made anew nothing is owed, until it is switched off.
    cluster.run(&["enable", "--exclude=kube-system"]);
    cluster.kubectl(&["delete", "pods", "--all", "--force", "--grace-period=0", "-n", "default"], "");
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": pods }));
    let settled = cluster.run(&["plan"]);
    assert_eq!(settled.status, Some(0), "{}{}", settled.out, settled.err);
    check("plan-disable", &["plan", "--mode=Disabled", "-n", "default"], 1);
    cluster.kubectl(&["delete", "pods", "--all", "--force", "--grace-period=0", "-n", "default"], "");
}
