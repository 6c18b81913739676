//! `millrace check`: what it says of a cluster before, during and after an installation, on both servers.

use crate::cluster::{Cluster, condition, on_each};
use serde_json::{Value, json};

/// The checks of one category: result, code and message of each.
fn category(said: &Value, name: &str) -> Vec<(String, String, String)> {
    let all = said["categories"].as_array().expect("there are categories");
    let found = all.iter().find(|one| one["name"] == name);
    let checks = found.and_then(|one| one["checks"].as_array()).cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    checks.iter().map(|one| (text(&one["result"]), text(&one["code"]), text(&one["message"]))).collect()
}

fn checked(cluster: &Cluster, more: &[&str]) -> (Option<i32>, Value) {
    let args: Vec<&str> = ["check", "-o", "json"].iter().chain(more).copied().collect();
    let said = cluster.run(&args);
    let value =
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("it is JSON: {}{}", said.out, said.err));
    (said.status, value)
}

/// Something of the category has this code, or this in its message.
#[track_caller]
fn has(said: &Value, name: &str, result: &str, words: &str) {
    let checks = category(said, name);
    let fits = |one: &&(String, String, String)| one.0 == result && (one.1 == words || one.2.contains(words));
    assert!(checks.iter().any(|one| fits(&one)), "{name}: no {result} with {words}: {checks:#?}");
}

#[test]
fn a_check_follows_what_is_there() {
    on_each("cli::a_check_follows_what_is_there", check_on);
}

fn check_on(cluster: &Cluster) {
    let clean = || {
        cluster.kubectl(
            &["delete", "mutatingwebhookconfigurations", "zz-millrace", "istio-sidecar-injector"],
            "",
        );
        cluster.kubectl(&["delete", "node", "checked", "gone"], "");
        cluster.kubectl(&["delete", "lease", "millrace-controller", "-n", "checked"], "");
        cluster.kubectl(&["delete", "configmap", "cilium-config", "-n", "kube-system"], "");
    };
    clean();
    before(cluster);
    after(cluster);
    clean();
}

fn before(cluster: &Cluster) {
    let (_, said) = checked(cluster, &["--pre"]);
    has(&said, "api", "ok", "MeshCNI is defined as this program knows it");
    has(&said, "injection", "warning", "MR5011");
    has(&said, "rights", "ok", "you may install it");
    assert_eq!(category(&said, "nodes"), [], "nodes are nobody's before");
    let (_, said) = checked(cluster, &[]);
    has(&said, "control-plane", "warning", "mesh CNI is off");
    cluster.create(
        &json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": { "name": "istio-sidecar-injector" } }),
    );
    // Nobody ends a namespace where no controller is: it stays, for other tests too.
    cluster.kubectl(&["create", "namespace", "kube-system"], "");
    cluster.create(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "cilium-config",
        "namespace": "kube-system" }, "data": { "cni-exclusive": "true" } }));
    let (status, said) = checked(cluster, &["--pre"]);
    has(&said, "injection", "ok", "the injector adds istio-init");
    has(&said, "network", "failed", "MR5005");
    assert_eq!(status, Some(1), "{said:#}");
    cluster.done(&["delete", "configmap", "cilium-config", "-n", "kube-system"], "");
    let people = cluster.run(&["check", "--pre"]).out;
    assert!(people.contains("\n  ‼ ") || people.contains("\n  ✓ "), "{people}");
    let chinese = cluster.run(&["check", "--pre", "--lang=zh"]).out;
    assert!(chinese.contains("版本") && chinese.contains("您有权安装"), "{chinese}");
    assert!(cluster.run(&["check", "--pre", "-o", "yaml"]).out.contains("categories:\n"));
}

fn after(cluster: &Cluster) {
    cluster.run(&["enable"]);
    let (_, said) = checked(cluster, &["-n", "checked"]);
    has(&said, "control-plane", "failed", "no controller holds the Lease");
    has(&said, "control-plane", "warning", "MR4009");
    cluster.kubectl(&["create", "namespace", "checked"], "");
    cluster.create(&json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "millrace-controller", "namespace": "checked" },
        "spec": { "holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": "2099-01-01T00:00:00.000000Z" } }));
    cluster.create(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "checked" } }));
    cluster.report(
        "Degraded",
        "Serving",
        json!({ "conditions": [condition("DriftFree", "False", "Drifted", "2 pods (MR2302)")] }),
    );
    let (status, said) = checked(cluster, &["-n", "checked"]);
    has(&said, "control-plane", "ok", "one leads");
    has(&said, "control-plane", "failed", "MR2302");
    has(&said, "nodes", "warning", "0 of 1 nodes serve");
    has(&said, "webhook", "failed", "MR3101");
    has(&said, "rights", "ok", "you may do all");
    assert_eq!(status, Some(1), "{said:#}");
    // Nobody is behind the port: with Ignore the pod comes through as it was, with Fail it is refused.
    for (policy, words) in [("Ignore", "did not answer"), ("Fail", "failed calling webhook")] {
        cluster.kubectl(&["delete", "mutatingwebhookconfigurations", "zz-millrace"], "");
        cluster.create(&json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": "zz-millrace" }, "webhooks": [{
                "name": "pods.millrace.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 1,
                "clientConfig": { "url": "https://127.0.0.1:9/inject" }, "failurePolicy": policy,
                "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }] }] }));
        // A server learns of a webhook by a watch of its own.
        crate::cluster::until("the webhook is asked", || {
            let (_, said) = checked(cluster, &["-n", "checked"]);
            category(&said, "webhook").iter().any(|one| one.0 == "failed" && one.2.contains(words))
        });
    }
    let made = cluster.done(&["get", "pods", "-n", "default", "-o", "name"], "");
    assert!(!made.contains("millrace-check"), "a dry run makes nothing: {made}");
}

#[test]
fn odd_is_wrong_only_where_that_is_asked_for() {
    let cluster = Cluster::embedded(&[]);
    assert_eq!(cluster.run(&["check", "--pre"]).status, Some(0), "that no injector is there is odd");
    assert_eq!(cluster.run(&["check", "--pre", "--strict"]).status, Some(1));
    let said = cluster.run(&["check", "--kubeconfig", "/nowhere"]);
    assert_eq!((said.status, said.out.as_str()), (Some(2), ""), "{}", said.err);
    assert_eq!(cluster.run(&["check", "extra"]).status, Some(2));
}

#[test]
fn who_may_not_look_is_told_what_was_not_looked_at() {
    let Some(cluster) = Cluster::real("cli::who_may_not_look_is_told_what_was_not_looked_at") else { return };
    let stranger = cluster.api().user("mallory", &["others"]);
    let said = cluster.run_as(&stranger, &["check", "-o", "json"]);
    let value: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}{}", said.out, said.err));
    has(&value, "unread", "warning", "cannot list nodes");
    has(&value, "rights", "warning", "MR5016");
    assert!(!said.out.contains("answers: a pod"), "{}", said.out);
}
