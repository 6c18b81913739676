//! `millrace uninstall` beside a controller that really clears the nodes: interrupted, begun again, and proved at the end.

use super::cluster::{Cluster, Controller};
use millrace_rig::apiserver::Apiserver;
use rustix::process::Signal;
use serde_json::json;
use std::process::{Child, Command, Output, Stdio};

const REDIRECT: &str = r#"{"v":1,"redirect":{}}"#;

/// The command, on its way.
fn uninstall(api: &Apiserver, flags: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.env_remove("LANG").arg("uninstall").args(flags).arg("--kubeconfig").arg(api.kubeconfig());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("millrace runs")
}

/// What it says at its end, and its status.
fn said(output: Output) -> (Option<i32>, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    (output.status.code(), text(output.stdout) + &text(output.stderr))
}

/// Switched on, and serving on these nodes.
fn serving<'a>(api: &'a Apiserver, nodes: &[&str]) -> (Cluster<'a>, Controller) {
    let cluster = Cluster::new(api);
    nodes.iter().for_each(|node| cluster.node(node, true));
    let controller = Controller::start(api, "one");
    cluster.wants(json!({}));
    cluster.until("it installs", |mesh| mesh["status"]["state"] == "Installing");
    nodes.iter().for_each(|node| cluster.serves(node, true));
    cluster.until("it runs", |mesh| mesh["status"]["phase"] == "Running");
    (cluster, controller)
}

/// Refused while a pod depends on the agents, goes on from where it stopped, and is proved clean; foreign things stay.
#[test]
fn everything_of_ours_leaves_and_nothing_else() {
    let Some(api) = Apiserver::start("controller::everything_of_ours_leaves_and_nothing_else") else {
        return;
    };
    let (cluster, controller) = serving(&api, &["n1", "n2"]);
    cluster.done(&["create", "configmap", "millrace-notes", "--from-literal=of=somebody-else"]);
    cluster.done(&["create", "clusterrole", "millrace-reader", "--verb=get", "--resource=pods"]);
    cluster.pod("shop", "stamped", &[("millrace.dev/redirect", REDIRECT)]);
    cluster.pod("shop", "skipped", &[("millrace.dev/redirect", r#"{"v":1,"skip":"NotInjected"}"#)]);
    cluster.until("the pod is counted", |mesh| mesh["status"]["workloads"]["cni"] == 1);

    let (status, words) = said(uninstall(&api, &[]).wait_with_output().expect("it ends"));
    assert!(
        status == Some(1) && words.contains("1 pod depends on the agents (MR4006):\n  shop/stamped\n"),
        "{words}"
    );
    assert!(words.contains("millrace migrate"), "{words}");
    cluster.until("it drains", |mesh| mesh["status"]["state"] == "Draining");
    assert!(cluster.ours().contains("daemonset"), "agents stay while a pod depends on them");

    let waiting = uninstall(&api, &["--wait", "--prove-clean"]);
    api.done(&["delete", "pod", "-n", "shop", "stamped", "--grace-period=0", "--force"], "");
    let left = "/opt/cni/bin/millrace-cni: still the plugin";
    let wrong = json!({ "v": 1, "node": "n1", "clean": false, "places": 7, "wrong": [left] });
    cluster.ends("n1", false, &wrong.to_string());
    let told = format!("node n1 has yet to be cleared: {left} (MR2116)");
    cluster.until("what is left is said", |mesh| mesh["status"]["conditions"].to_string().contains(&told));
    let job = || cluster.get("job/millrace-uninstall-n1")["metadata"]["uid"].clone();
    let first = job();
    assert!(first.is_string(), "it is there to be looked at");
    cluster.until_true("another is made in its time", || job().is_string() && job() != first);
    cluster.clear("n1");
    cluster.clear("n2");
    let (status, words) = said(waiting.wait_with_output().expect("it ends"));
    assert_eq!(status, Some(1), "{words}");
    let tried = format!("cleared again, ever more slowly (millrace-uninstall-n1): {left}\n");
    assert_eq!(words.matches(&tried).count(), 1, "{words}");
    for node in ["n1", "n2"] {
        let proof = format!(
            "Node {node}: cleared, and proved clean by its Job (millrace-uninstall-{node}): 7 places looked at, all clean\n"
        );
        assert_eq!(words.matches(&proof).count(), 1, "{words}");
    }
    assert!(words.contains("one: a controller acts still"), "{words}");
    assert!(
        words.contains("✓ DaemonSet: clean\n") && words.contains("✗ Lease: not clean (MR4201)\n"),
        "{words}"
    );
    assert!(cluster.get("meshcni/default").is_null());

    controller.end(Signal::TERM);
    let (status, words) = said(uninstall(&api, &["--prove-clean"]).wait_with_output().expect("it ends"));
    assert_eq!(status, Some(0), "{words}");
    assert!(words.contains("Lease millrace-system/millrace-controller: removed\n"), "{words}");
    assert!(words.contains("CustomResourceDefinition meshcnis.millrace.dev: removed\n"), "{words}");
    assert!(words.ends_with("nothing of Millrace is left\n"), "{words}");
    let (status, words) = said(uninstall(&api, &["--prove-clean"]).wait_with_output().expect("it ends"));
    assert!(status == Some(0) && !words.contains("removed"), "there is nothing to do any more: {words}");
    assert!(words.contains("1 pods with a stamp that says to leave them alone: it may stay"), "{words}");
    for foreign in ["configmap/millrace-notes", "clusterrole/millrace-reader", "namespace/millrace-system"] {
        assert!(!cluster.get(foreign).is_null(), "{foreign} is not ours to delete");
    }
}

/// Told to, it leaves pods behind, and names each.
#[test]
fn forced_it_names_who_is_left_behind() {
    let Some(api) = Apiserver::start("controller::forced_it_names_who_is_left_behind") else { return };
    let (cluster, controller) = serving(&api, &["n1"]);
    cluster.pod("shop", "stamped", &[("millrace.dev/redirect", REDIRECT)]);
    cluster.until("the pod is counted", |mesh| mesh["status"]["workloads"]["cni"] == 1);
    let forced = uninstall(&api, &["--force", "--wait", "--prove-clean"]);
    cluster.clear("n1");
    cluster.until_true("the MeshCNI is gone", || cluster.get("meshcni/default").is_null());
    let (status, words) = said(forced.wait_with_output().expect("it ends"));
    assert_eq!(status, Some(1), "{words}");
    assert!(words.contains("1 pod depends on the agents (MR4006):\n  shop/stamped\n--force: "), "{words}");
    assert!(words.contains("Pod shop/stamped: restart it"), "{words}");
    controller.end(Signal::TERM);
}
