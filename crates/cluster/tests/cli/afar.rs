//! `millrace explain`, `rules` and `trace` of what the API server has; what is said when it refuses.

use crate::cluster::{Cluster, on_each};
use crate::program::{command, golden};
use millrace_rig::injector::told;
use serde_json::{Value, json};
use std::path::Path;

const NAMESPACE: &str = "afar";

/// A pod with istio-init, one with a stamp, one outside the mesh; and a workload of which the first is.
fn objects() -> Vec<Value> {
    let proxy = json!({ "name": "istio-proxy", "image": "proxyv2", "args": ["proxy", "sidecar"],
        "securityContext": { "runAsUser": 1337, "runAsGroup": 1337 } });
    let app = json!({ "name": "app", "image": "x" });
    let told = [told(), vec!["-o", "3306"]].concat();
    let pod = |name: &str, annotations: Value, init: Value, containers: Value| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": NAMESPACE, "annotations": annotations },
            "spec": { "initContainers": init, "containers": containers } })
    };
    let status = |init: &str| format!(r#"{{"initContainers":["{init}"],"containers":["istio-proxy"]}}"#);
    let mut stock = pod(
        "web-7d9c-x",
        json!({ "sidecar.istio.io/status": status("istio-init") }),
        json!([{ "name": "istio-init", "image": "proxyv2", "args": told }]),
        json!([app, proxy]),
    );
    stock["metadata"]["labels"] = json!({ "pod-template-hash": "7d9c" });
    stock["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9c",
        "uid": "0f8fad5b-d9cb-469f-a165-70867728950e", "controller": true }]);
    let stamped = pod(
        "cart",
        json!({ "sidecar.istio.io/status": status("istio-validation"),
            "millrace.dev/redirect": r#"{"v":1,"redirect":{"excludeOutboundPorts":"6379"}}"# }),
        json!([{ "name": "istio-validation", "image": "proxyv2", "args": ["istio-iptables", "--run-validation"] }]),
        json!([app, proxy]),
    );
    let plain = pod("plain", json!({}), json!([]), json!([app]));
    let workload = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": NAMESPACE },
        "spec": { "replicas": 0, "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [app] } } } });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    vec![namespace, workload, stock, stamped, plain]
}

#[test]
fn golden_pods_are_explained_from_afar() {
    on_each("cli::golden_pods_are_explained_from_afar", explain_on);
}

fn explain_on(cluster: &Cluster) {
    cluster.create(&json!({ "apiVersion": "v1", "kind": "List", "items": objects() }));
    let check = |name: &str, args: &[&str]| {
        let said = cluster.run(args);
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{name}: {}", said.out);
        golden(&format!("afar-{name}"), &said.out);
    };
    check("explain", &["explain", "web-7d9c-x", "-n", NAMESPACE]);
    check("explain-lines", &["explain", "namespace/afar", "--brief", "-o", "jsonl"]);
    check("rules", &["rules", "afar/web-7d9c-x", "--family=4", "-o", "iptables-save"]);
    check("trace", &["trace", "cart", "-n", NAMESPACE, "--to", "192.0.2.1:6379"]);
    let enabled = cluster.run(&["enable", "--exclude", "kube-system"]);
    assert_eq!(enabled.status, Some(0), "{}", enabled.err);
    check("explain-enabled", &["explain", "ns/afar", "--brief"]);
    check("explain-enabled-zh", &["explain", "pod/web-7d9c-x", "-n", NAMESPACE, "--brief", "--lang=zh"]);
    check("explain-deploy", &["explain", "deploy/web", "-n", NAMESPACE, "--brief", "--assume-injected"]);
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"], "");
    cluster.kubectl(
        &["delete", "pods,deployments", "--all", "-n", NAMESPACE, "--force", "--grace-period=0"],
        "",
    );
}

/// What is said, in both languages, when it is asked for a pod.
fn refused(kubeconfig: &Path, more: &[&str], expected: [&str; 2]) {
    for (lang, expected) in ["--lang=en", "--lang=zh"].into_iter().zip(expected) {
        let args = [&["rules", "one", "-n", "default", lang][..], more].concat();
        let mut rules = command(&args);
        rules.env("HOME", "/nonexistent");
        if kubeconfig != Path::new("") {
            rules.env("KUBECONFIG", kubeconfig);
        }
        let output = rules.output().expect("millrace runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn what_the_server_refuses_is_said_in_both_languages() {
    on_each("cli::what_the_server_refuses_is_said_in_both_languages", |cluster| {
        let absent = ["cannot read Pod default/one: there is none", "无法完成 read Pod default/one:不存在"];
        refused(&cluster.kubeconfig(), &[], absent);
    });
    let none = Path::new("");
    refused(none, &[], ["there is no kubeconfig: name one", "没有 kubeconfig"]);
    let missing = ["--kubeconfig=/nonexistent/kubeconfig"];
    refused(none, &missing, ["cannot read the kubeconfig /nonexistent/kubeconfig", "kubeconfig 无法使用"]);
}

#[test]
fn who_may_not_ask_is_told_what_to_do() {
    let Some(cluster) = Cluster::real("cli::who_may_not_ask_is_told_what_to_do") else { return };
    let api = cluster.api();
    let stranger = api.user("afar-eve", &["others"]);
    let may_not = "User \"afar-eve\" cannot get resource \"pods\"";
    refused(&stranger, &[], [may_not, "没有权限"]);
    let token = api.folder().join("afar-token");
    std::fs::write(&token, "nonsense").expect("a file");
    let unknown = ["does not know who asks; renew", "不认识请求者"];
    refused(&api.with_token_file(&token), &[], unknown);
    api.freeze();
    let slow = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        refused(&cluster.kubeconfig(), &["--request-timeout=1s"], ["(MR1106)", "(MR1106)"]);
    }));
    api.thaw();
    assert!(slow.is_ok(), "a server that hangs is said to hang");
}
