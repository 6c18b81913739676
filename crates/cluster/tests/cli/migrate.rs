//! `millrace migrate`: wave after wave, within disruption budgets, until no workload owes a restart.

use crate::cluster::{Cluster, on_each, on_each_uncontrolled, until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Child;

const NAMESPACE: &str = "moved";

/// StatefulSets with a pod each that has istio-init still, and a bare pod.
fn objects(names: &[&str]) -> Vec<Value> {
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
    let sets = names.iter().flat_map(|name| [set(name), pod(name, Some(name))]);
    sets.chain([pod("bare", None)]).collect()
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
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": objects(&["a", "b"]) }));
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
    until("a is restarted", || restarted(cluster, "a"));
    assert!(!restarted(cluster, "b"), "the second waits for the first");
    roll(cluster, "a");
    assert_eq!(lines(), "1/2 StatefulSet moved/a: restarted");
    until("b is restarted", || restarted(cluster, "b"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    assert!(lines().starts_with("2/2 StatefulSet moved/b: interrupted"));
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    clear(cluster);
}

fn clear(cluster: &Cluster) {
    cluster.kubectl(
        &[
            "delete",
            "statefulsets,pods,poddisruptionbudgets",
            "--all",
            "-n",
            NAMESPACE,
            "--force",
            "--grace-period=0",
        ],
        "",
    );
}

/// Says what the disruption controller would: how many pods of the budget may go now.
fn allow(cluster: &Cluster, count: i64) {
    let path = format!("/apis/{}/namespaces/{NAMESPACE}/poddisruptionbudgets/both", budgets(cluster));
    let mut budget: Value =
        serde_json::from_str(&cluster.done(&["get", "--raw", &path], "")).expect("it is JSON");
    budget["status"] =
        json!({ "currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": count, "expectedPods": 2 });
    cluster.replace(&format!("{path}/status"), &budget);
}

/// The version in which this server has budgets: kube-apiserver had no policy/v1 before 1.21.
fn budgets(cluster: &Cluster) -> &'static str {
    let known = cluster.kubectl(&["get", "--raw", "/apis/policy/v1"], "");
    if known.status.success() { "policy/v1" } else { "policy/v1beta1" }
}

#[test]
fn waves_keep_to_budgets_and_a_failure_pauses() {
    on_each_uncontrolled("cli::waves_keep_to_budgets_and_a_failure_pauses", waves_on);
}

fn waves_on(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", NAMESPACE], "");
    clear(cluster);
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": objects(&["a", "b", "c"]) }));
    for name in ["b", "c"] {
        let labels = json!({ "spec": { "template": { "metadata": { "labels": { "tier": "x" } } } } });
        cluster.done(
            &["patch", "statefulset", name, "-n", NAMESPACE, "--type=merge", "-p", &labels.to_string()],
            "",
        );
    }
    let keeps = budgets(cluster) == "policy/v1";
    let budget = json!({ "apiVersion": budgets(cluster), "kind": "PodDisruptionBudget",
        "metadata": { "name": "both", "namespace": NAMESPACE },
        "spec": { "minAvailable": 1, "selector": { "matchLabels": { "tier": "x" } } } });
    cluster.create(&budget);
    allow(cluster, 0);
    cluster.run(&["enable", "--exclude=kube-system"]);

    // One budget counts b and c, so c is in the next wave; and b waits until a pod of it may go.
    let mut child = cluster.start(&["migrate", "-n", NAMESPACE, "--max-unavailable=100%", "--wave"]);
    let mut said = lines(&mut child);
    assert!(said().starts_with("moved/bare-old: "));
    until("a is restarted", || restarted(cluster, "a"));
    assert!(!keeps || !restarted(cluster, "b"), "the budget lets no pod go");
    roll(cluster, "a");
    assert_eq!(said(), "1/3 StatefulSet moved/a: restarted");
    allow(cluster, 1);
    until("b is restarted", || restarted(cluster, "b"));
    assert!(!keeps || !restarted(cluster, "c"), "one workload of a budget at a time");
    if !keeps {
        until("c is restarted", || restarted(cluster, "c"));
        roll(cluster, "b");
        assert_eq!(said(), "2/3 StatefulSet moved/b: restarted");
        roll(cluster, "c");
        assert_eq!(said(), "3/3 StatefulSet moved/c: restarted");
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
        return clear(cluster);
    }
    roll(cluster, "b");
    assert_eq!(said(), "2/3 StatefulSet moved/b: restarted");
    assert_eq!(said(), "1 left; the same command goes on with the next wave");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));

    // What is made anew owes nothing; one that does not get ready pauses the migration, for everybody.
    cluster.done(
        &["delete", "pod", "-n", NAMESPACE, "a-old", "b-old", "bare-old", "--force", "--grace-period=0"],
        "",
    );
    let late = cluster.run(&["migrate", "-n", NAMESPACE, "--timeout=3s"]);
    let words = "1/1 StatefulSet moved/c: restarted and not ready yet (MR4103)\nmigrations pause before their next wave\n";
    assert_eq!((late.status, late.out.as_str()), (Some(1), words), "{}", late.err);
    let paused = cluster.run(&["migrate", "-n", NAMESPACE, "--lang=zh"]);
    assert!(
        paused.status == Some(1) && paused.out.contains("1/1 StatefulSet moved/c: 已暂停"),
        "{}",
        paused.out
    );
    cluster.run(&["migrate", "--resume"]);

    // Begun again, it waits for what is on its way, and restarts it no second time.
    let template =
        || cluster.done(&["get", "statefulset", "c", "-n", NAMESPACE, "-o", "jsonpath={.spec.template}"], "");
    let before = template();
    let resumed = cluster.start(&["migrate", "-n", NAMESPACE, "--pause-on-failure=false"]);
    roll(cluster, "c");
    let resumed: crate::program::Said = resumed.wait_with_output().expect("it ends").into();
    let words = "1/1 StatefulSet moved/c: restarted\nno workload owes a restart any more\n";
    assert_eq!((resumed.status, resumed.out.as_str()), (Some(0), words), "{}", resumed.err);
    assert_eq!(template(), before);
    clear(cluster);
}

fn lines(child: &mut Child) -> impl FnMut() -> String + use<> {
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    move || lines.next().expect("a line").expect("text")
}
