//! containerd's CRI as a kubelet uses it: pods inside and outside the mesh, from start to removal.

use super::chain::{self, ENROLLED, added, calls};
use super::parts;
use super::rules::{
    assert_page_agrees, assert_redirected, assert_redirected_natively, assert_untouched, injected, stamped,
    unrelated,
};
use millrace_rig::containerd::Containerd;
use millrace_rig::node::Node;
use millrace_rig::parts::Parts;
use serde_json::{Map, Value, json};
use std::path::Path;

/// This release's containerd, with the list version that its libcni takes.
#[test]
fn the_machines_containerd_runs_pods() {
    let mut parts = parts::of("the_machines_containerd_runs_pods");
    let containerd = parts.program("containerd", "--version");
    let plugins = parts.plugins();
    if let Some(node) = node_of(parts, "1.0.0", &plugins) {
        lifecycle(&Containerd::start(&node, &containerd), &node, "1.0.0");
    }
}

/// A containerd that also calls STATUS, which exists from 1.1.0 on.
#[test]
fn containerd_2_runs_pods() {
    let mut parts = parts::of("containerd_2_runs_pods");
    let containerd = parts.fetched("containerd-2/usr/bin/containerd", "--version");
    let plugins = parts.newer_plugins();
    if let Some(node) = node_of(parts, "1.1.0", &plugins) {
        let containerd = Containerd::start(&node, &containerd);
        lifecycle(&containerd, &node, "1.1.0");
        users_of_its_own(&containerd, &node);
    }
}

fn node_of(mut parts: Parts, version: &str, plugins: &Path) -> Option<Node> {
    parts.cri();
    if !parts.complete() {
        return None;
    }
    let node = Node::start();
    chain::lay(&node, version, plugins);
    Some(node)
}

fn lifecycle(containerd: &Containerd, node: &Node, version: &str) {
    containerd.import(&parts::kept());
    becomes_ready(containerd, node, version);
    outside_the_mesh(containerd, node);
    stamped_pod(containerd, node);
    injected_but_not_stamped(containerd, node);
}

/// STATUS does not keep the node from becoming ready, though no agent runs.
fn becomes_ready(containerd: &Containerd, node: &Node, version: &str) {
    let status = containerd.call("Status", &json!({})).expect("it has a status");
    let conditions = status["status"]["conditions"].as_array().expect("a status has conditions");
    let ready = |kind: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == true);
    assert!(ready("RuntimeReady") && ready("NetworkReady"), "{status}");
    let asked = calls(node, None).iter().any(|call| call.verb == "STATUS");
    assert_eq!(asked, version == "1.1.0", "the witness saw STATUS as often as this version has it");
}

/// Nothing is changed, nobody waited for (M2). containerd hands over `null` when there is no annotation at all, as of a pod
/// that no kubelet made: then only the hint says that it is outside the mesh.
fn outside_the_mesh(containerd: &Containerd, node: &Node) {
    for (namespace, annotations) in [(ENROLLED, unrelated()), ("elsewhere", Map::new())] {
        let pod = containerd.pod(namespace, "plain", &annotations);
        let sandbox = containerd.run_pod(&pod).expect("a pod outside the mesh starts");
        assert_untouched(node, &added(node, &sandbox));
        remove(containerd, node, &sandbox);
    }
}

/// The whole life of a pod of the mesh, without an agent.
fn stamped_pod(containerd: &Containerd, node: &Node) {
    let pod = containerd.pod(ENROLLED, "productpage", &stamped());
    let sandbox = containerd.run_pod(&pod).expect("a stamped pod starts without an agent");
    let netns = added(node, &sandbox);
    assert_redirected(node, &netns);
    assert!(!chain::records(node, &sandbox).is_empty(), "a redirection is recorded");

    let proxy = containerd.run_container(&sandbox, &pod, "istio-proxy");
    assert_page_agrees(node, &proxy, &containerd.pid(&proxy).to_string());
    remove(containerd, node, &sandbox);
}

/// A pod with `hostUsers: false`, which containerd 1.6 cannot run.
fn users_of_its_own(containerd: &Containerd, node: &Node) {
    let pod = containerd.pod_with_own_users(ENROLLED, "ratings", &stamped());
    let sandbox = containerd.run_pod(&pod).expect("a stamped pod with users of its own starts");
    assert_redirected_natively(node, &added(node, &sandbox));
    remove(containerd, node, &sandbox);
}

/// In the mesh by its status annotation, with nobody to say how: it must not start, and the kubelet must read why (M1, M12).
fn injected_but_not_stamped(containerd: &Containerd, node: &Node) {
    let error = containerd
        .run_pod(&containerd.pod(ENROLLED, "reviews", &injected()))
        .expect_err("it does not start unprotected");
    assert!(error.contains(r#"plugin type="millrace-cni" failed (add)"#), "{error}");
    assert!(
        ["pod bookinfo/reviews", "agent", "does not start unprotected"]
            .iter()
            .all(|words| error.contains(words)),
        "{error}"
    );
    let add = calls(node, None).into_iter().rfind(|call| call.verb == "ADD").expect("the pod was added");
    assert_eq!(add.place, "before", "the chain ended with us");
    let sandbox = add.variable("CNI_CONTAINERID");
    assert_eq!(chain::records(node, sandbox), [""; 0], "nothing is left of it");
}

/// StopPodSandbox and RemovePodSandbox are a DEL each; the second has neither namespace nor previous result.
fn remove(containerd: &Containerd, node: &Node, sandbox: &str) {
    let request = json!({"pod_sandbox_id": sandbox});
    for method in ["StopPodSandbox", "RemovePodSandbox"] {
        containerd.call(method, &request).unwrap_or_else(|why| panic!("{method}: {why}"));
    }
    let all = calls(node, Some(sandbox));
    // The last of the list is called first, so only a DEL of ours that succeeded lets the other witness see it.
    let dels: Vec<_> =
        all.iter().filter(|call| (call.verb.as_str(), call.place.as_str()) == ("DEL", "before")).collect();
    let [first, second] = dels.as_slice() else { panic!("{} DELs came through, not 2", dels.len()) };
    assert!(!first.variable("CNI_NETNS").is_empty() && first.config["prevResult"].is_object());
    assert_eq!((second.variable("CNI_NETNS"), &second.config["prevResult"]), ("", &Value::Null));
    assert_eq!(chain::records(node, sandbox), [""; 0], "no record outlives its pod");
}
