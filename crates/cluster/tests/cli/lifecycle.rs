//! `millrace rollback` and `upgrade`: what they go back and on to, what they refuse, and what they leave alone.

use crate::cluster::{Cluster, on_each, on_each_uncontrolled, until};
use crate::program::{Said, ageless, golden};
use serde_json::{Value, json};

const NAMESPACE: &str = "millrace-system";

/// What a controller keeps of what is wanted now.
fn keep(cluster: &Cluster, number: i64, image: &str) {
    let mesh = cluster.mesh();
    let revision = json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": number,
        "metadata": { "name": format!("millrace-{number}"), "namespace": NAMESPACE,
            "labels": { "app.kubernetes.io/managed-by": "millrace-controller" },
            "annotations": { "millrace.dev/generation": mesh["metadata"]["generation"].to_string() } },
        "data": { "spec": mesh["spec"], "image": image },
    });
    cluster.create(&revision);
}

fn fresh(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", NAMESPACE], "");
    cluster.kubectl(&["delete", "-n", NAMESPACE, "controllerrevisions,deployments", "--all"], "");
}

/// What was said: status, then standard output or standard error.
fn told(said: &Said) -> String {
    format!("{} {}{}", said.status.unwrap_or(-1), ageless(&said.out), said.err)
}

#[test]
fn golden_rollback() {
    on_each("cli::golden_rollback", golden_rollback_on);
}

fn golden_rollback_on(cluster: &Cluster) {
    fresh(cluster);
    let mut all = String::new();
    let mut say =
        |title: &str, args: &[&str]| all.push_str(&format!("{title}: {}", told(&cluster.run(args))));
    say("no MeshCNI", &["rollback"]);
    cluster.run(&["enable", "--exclude=kube-system"]);
    say("nothing kept", &["rollback"]);
    say("nothing listed", &["rollback", "--list"]);
    keep(cluster, 1, "localhost/millrace:0.1.0");
    say("never reached", &["rollback"]);
    cluster.report("Running", "Serving", json!({ "lastGoodRevision": 1 }));
    say("already so", &["rollback"]);
    say("no such", &["rollback", "--to=77"]);
    cluster.run(&["exclude", "set", "kube-system,legacy"]);
    let better =
        json!({ "spec": { "install": { "image": "localhost/millrace:0.2.0", "list": "x.conflist" } } });
    cluster.done(&["patch", "meshcni", "default", "--type=merge", "-p", &better.to_string()], "");
    keep(cluster, 2, "localhost/millrace:0.1.0");
    let time = "2026-01-01T00:00:00Z";
    let change = |generation: i64, summary: &str| json!({ "generation": generation, "specHash": "ab", "summary": summary, "by": "alice", "at": time });
    let history = json!([change(3, "excludeNamespaces, install"), change(1, "created")]);
    cluster.report("Updating", "Serving", json!({ "lastGoodRevision": 1, "history": history }));
    say("list", &["rollback", "--list"]);
    say("list in Chinese", &["rollback", "--list", "--lang=zh"]);
    // kubectl patched these fields, so they are somebody else's.
    say("of somebody else", &["rollback", "--dry-run=server"]);
    say("tried", &["rollback", "--dry-run=server", "--force-conflicts"]);
    assert_eq!(cluster.mesh()["spec"]["install"]["list"], "x.conflist", "a dry run changes nothing");
    say("done", &["rollback", "--force-conflicts", "--lang=zh"]);
    let spec = cluster.mesh()["spec"].clone();
    assert_eq!((&spec["excludeNamespaces"], &spec["install"]), (&json!(["kube-system"]), &json!({})));
    say("forward again", &["rollback", "--to=3", "--force-conflicts"]);
    cluster.report("Running", "Serving", json!({ "lastGoodRevision": 1 }));
    say("with the waiting", &["rollback", "--to=1", "--wait", "--timeout=1s", "--diff"]);
    let listed: Value =
        serde_json::from_str(&cluster.run(&["rollback", "--list", "-o", "json"]).out).expect("it is JSON");
    assert_eq!(
        (&listed["revisions"][1]["generation"], &listed["revisions"][1]["present"]),
        (&json!(1), &json!(true))
    );
    golden("rollback", &all);
}

/// A controller's Deployment, which its own controller says is ready once its image is this.
fn deployment(cluster: &Cluster, image: &str) {
    let labels =
        json!({ "app.kubernetes.io/part-of": "millrace", "app.kubernetes.io/component": "controller" });
    let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "millrace-controller", "namespace": NAMESPACE, "labels": labels },
        "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "controller", "image": image, "args": ["controller", format!("--image={image}")] }] } } } });
    cluster.create(&object);
}

fn deployed(cluster: &Cluster) -> Value {
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/millrace-controller");
    serde_json::from_str(&cluster.done(&["get", "--raw", &path], "")).expect("an object is JSON")
}

fn image_of(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]["image"]
}

fn reports(cluster: &Cluster, node: &str, version: &str) {
    let made = json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "MeshCNINode", "metadata": { "name": node }, "spec": {} });
    cluster.create(&made);
    let path = format!("/apis/millrace.dev/v1alpha1/meshcninodes/{node}");
    let mut held: Value =
        serde_json::from_str(&cluster.done(&["get", "--raw", &path], "")).expect("an object is JSON");
    held["status"] = json!({ "serving": true, "agentVersion": version });
    cluster.replace(&format!("{path}/status"), &held);
}

#[test]
fn golden_upgrade() {
    on_each_uncontrolled("cli::golden_upgrade", golden_upgrade_on);
}

fn golden_upgrade_on(cluster: &Cluster) {
    fresh(cluster);
    let mut all = String::new();
    let mut say =
        |title: &str, args: &[&str]| all.push_str(&format!("{title}: {}", told(&cluster.run(args))));
    say("no MeshCNI", &["upgrade"]);
    cluster.run(&["enable", "--exclude=kube-system"]);
    say("no image known", &["upgrade"]);
    say("no image", &["upgrade", "--image=http://x"]);
    keep(cluster, 1, "registry.example/millrace:0.0.9");
    reports(cluster, "n1", "0.0.9");
    reports(cluster, "n2", "0.0.9");
    say("by hand", &["upgrade", "--dry-run=server"]);
    say("too far", &["upgrade", "--image=registry.example/millrace:0.2.0"]);
    say("untold", &["upgrade", "--image=registry.example/millrace:latest"]);
    deployment(cluster, "registry.example/millrace:0.0.9");
    say("tried", &["upgrade", "--dry-run=server", "--lang=zh"]);
    assert_eq!(image_of(&deployed(cluster)), "registry.example/millrace:0.0.9", "a dry run changes nothing");

    // The controller goes first, and the agents only once it is there.
    let child = cluster.start(&["upgrade"]);
    until("the controller gets its image", || {
        image_of(&deployed(cluster)) == "registry.example/millrace:0.1.0"
    });
    assert_eq!(
        cluster.mesh()["spec"]["install"]["image"],
        "registry.example/millrace:0.0.9",
        "agents wait for the controller, which would give them its own"
    );
    let mut now = deployed(cluster);
    assert_eq!(
        now["spec"]["template"]["spec"]["containers"][0]["args"],
        json!(["controller", "--image=registry.example/millrace:0.1.0"])
    );
    now["status"] = json!({ "observedGeneration": now["metadata"]["generation"] });
    cluster.replace(
        &format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/millrace-controller/status"),
        &now,
    );
    let said: Said = child.wait_with_output().expect("it ends").into();
    all.push_str(&format!("done: {}", told(&said)));
    assert_eq!(cluster.mesh()["spec"]["install"]["image"], "registry.example/millrace:0.1.0");
    let mut say =
        |title: &str, args: &[&str]| all.push_str(&format!("{title}: {}", told(&cluster.run(args))));
    say("again", &["upgrade"]);
    cluster.done(&["delete", "meshcninodes", "--all"], "");
    reports(cluster, "n1", "0.1.0");
    say("back", &["upgrade", "--image=registry.example/millrace:0.0.9"]);
    cluster.done(
        &["patch", "meshcni", "default", "--type=merge", "-p", r#"{"spec":{"rollout":{"paused":true}}}"#],
        "",
    );
    say("back all the same", &["upgrade", "--image=registry.example/millrace:0.0.9", "--ignore-skew"]);
    golden("upgrade", &all);
}
