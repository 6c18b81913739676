//! The controller against the API server in memory, and against a real one: the test plays the nodes, the agents and the people, and
//! nothing else is played.

#[path = "../cli/browser.rs"]
mod browser;
mod cluster;
mod console;
mod faults;
mod install;
mod kubelet;
#[path = "../cli/program.rs"]
mod program;
mod switch;
mod uninstall;
mod webhooks;

use cluster::{Cluster, Controller};
use millrace_rig::embedded::Server;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Runs `test` on the server in memory, and the same on a real one where there is one.
fn on_each(name: &str, test: impl Fn(&Server)) {
    for server in Server::each_alone(name, env!("CARGO_BIN_EXE_millrace")) {
        eprintln!("{name}, on {}", server.name());
        test(&server);
    }
}

/// From nothing to Running, through what people do to our objects and settings, to nothing again.
#[test]
fn there_and_back() {
    on_each("controller::there_and_back", there_and_back_on);
}

fn there_and_back_on(api: &Server) {
    let cluster = Cluster::new(api);
    cluster.node("n1", true);
    cluster.node("n2", true);
    let controller = Controller::start(api, "one");
    cluster.wants(json!({ "excludeNamespaces": ["kube-system"] }));
    cluster.until("it installs", |mesh| mesh["status"]["state"] == "Installing");
    cluster.until_there("daemonset/millrace-agent-kubeadm");
    cluster.until_true("nodes are labelled", || {
        cluster.get("node/n1")["metadata"]["labels"]["millrace.dev/platform"] == "kubeadm"
    });

    cluster.serves("n1", true);
    cluster.until("one node is not all", |mesh| mesh["status"]["nodes"]["summary"] == "1/2");
    assert_eq!(cluster.mesh()["status"]["state"], "Installing");
    cluster.serves("n2", true);
    cluster.until("it runs", |mesh| mesh["status"]["phase"] == "Running");
    let mesh = cluster.mesh();
    assert_eq!(mesh["status"]["state"], "Serving");
    assert_eq!(mesh["status"]["lastGoodRevision"], 1);
    api.done(&["wait", "--for=condition=Ready", "meshcni/default", "--timeout=60s"], "");
    let table = api.done(&["get", "meshcni"], "");
    assert!(table.contains("Running") && table.contains("2/2"), "{table}");
    let condition = |node: &str| cluster.condition(node, "millrace.dev/Serving");
    cluster.until_true("nodes say so", || condition("n2") == "True");

    what_is_broken_comes_back(&cluster);
    settings_reach_agents(&cluster);
    a_node_that_says_no_is_tainted(&cluster);

    cluster.pod("shop", "stamped", &[("millrace.dev/redirect", r#"{"v":1,"redirect":{}}"#)]);
    cluster.until("the pod is counted", |mesh| mesh["status"]["workloads"]["cni"] == 1);
    cluster.wants(json!({ "mode": "Disabled" }));
    cluster.until("it drains", |mesh| {
        mesh["status"]["state"] == "Draining" && mesh["status"]["workloads"]["restartDebt"] == 1
    });
    api.done(&["delete", "pod", "-n", "shop", "stamped", "--grace-period=0", "--force"], "");
    cluster.until("agents leave", |mesh| mesh["status"]["state"] == "Removing");
    cluster.until_gone("daemonset/millrace-agent-kubeadm");
    cluster.clear("n1");
    cluster.clear("n2");
    cluster.until("nothing is left", |mesh| mesh["status"]["phase"] == "Disabled");
    cluster.until_true("no object of ours is left", || cluster.ours().is_empty());
    assert_eq!(condition("n1"), "");
    let events = api.done(&["get", "events", "-o", "jsonpath={.items[*].reason}"], "");
    for reason in ["Installing", "Serving", "Running", "Draining", "Removing", "Absent"] {
        assert!(events.contains(reason), "{reason} is not among {events}");
    }

    api.done(&["delete", "meshcni", "default", "--wait=true", "--timeout=60s"], "");
    controller.end(Signal::TERM);
}

fn what_is_broken_comes_back(cluster: &Cluster) {
    let set = cluster.get("daemonset/millrace-agent-kubeadm")["metadata"]["uid"].clone();
    cluster.done(&["delete", "daemonset", "millrace-agent-kubeadm"]);
    cluster.done(&["delete", "clusterrole", "millrace-agent"]);
    let broken = r#"{"data":{"agent.yaml":"broken: true"}}"#;
    cluster.done(&["patch", "configmap", "millrace-agent-kubeadm", "--type=merge", "-p", broken]);
    cluster.until_true("all of it comes back", || {
        let again = cluster.get("daemonset/millrace-agent-kubeadm")["metadata"]["uid"].clone();
        let config = cluster.get("configmap/millrace-agent-kubeadm")["data"]["agent.yaml"].to_string();
        let role = cluster.get("clusterrole/millrace-agent");
        again.is_string() && again != set && config.contains("failurePolicy") && role["rules"].is_array()
    });
}

/// Excluding a namespace changes a file that agents read again, and restarts nobody.
fn settings_reach_agents(cluster: &Cluster) {
    let generation = |cluster: &Cluster| {
        cluster.get("daemonset/millrace-agent-kubeadm")["spec"]["template"]["metadata"]["annotations"]
            ["millrace.dev/started-with"]
            .clone()
    };
    let before = generation(cluster);
    cluster.wants(json!({ "excludeNamespaces": ["kube-system", "legacy"] }));
    cluster.until_true("the file has it", || {
        cluster.get("configmap/millrace-agent-kubeadm")["data"]["agent.yaml"].to_string().contains("legacy")
    });
    assert_eq!(generation(cluster), before);
    cluster.until("a change is on its way, and pods are converted all along", |mesh| {
        mesh["status"]["state"] == "Serving" && mesh["status"]["history"].as_array().map(Vec::len) == Some(2)
    });
    let mesh = cluster.mesh();
    assert_eq!(mesh["status"]["history"][0]["summary"], "excludeNamespaces");
    cluster.until("it is there", |mesh| {
        mesh["status"]["phase"] == "Running" && mesh["status"]["lastGoodRevision"] == 2
    });
}

fn a_node_that_says_no_is_tainted(cluster: &Cluster) {
    cluster.node("n3", true);
    cluster.serves("n3", true);
    cluster.until("three serve", |mesh| mesh["status"]["nodes"]["summary"] == "3/3");
    cluster.serves("n3", false);
    let tainted = || cluster.get("node/n3")["spec"]["taints"].to_string().contains("millrace.dev/not-ready");
    cluster.until_true("it is tainted", tainted);
    let mesh = cluster.mesh();
    assert_eq!(mesh["status"]["state"], "Serving", "one node throws nobody out");
    assert_eq!(mesh["status"]["failingNodes"][0]["name"], "n3");
    cluster.serves("n3", true);
    cluster.until_true("the taint goes", || !tainted());
    cluster.done(&["delete", "node", "n3"]);
    cluster.done(&["delete", "meshcninode", "n3"]);
    cluster.until("two are left", |mesh| mesh["status"]["nodes"]["summary"] == "2/2");
}

/// Canaries first, a pause holds, and another controller takes over from one that was killed, while somebody else keeps
/// writing to the same object.
#[test]
fn canaries_pauses_and_leaders() {
    on_each("controller::canaries_pauses_and_leaders", canaries_pauses_and_leaders_on);
}

fn canaries_pauses_and_leaders_on(api: &Server) {
    let cluster = Cluster::new(api);
    cluster.node("c1", true);
    cluster.node("n1", true);
    cluster.done(&["label", "node", "c1", "tier=canary"]);
    let first = Controller::start(api, "first");
    let rollout = |paused: bool| json!({ "canaryNodeSelector": { "tier": "canary" }, "paused": paused });
    cluster.wants(json!({ "rollout": rollout(false) }));
    cluster.until_there("daemonset/millrace-agent-kubeadm-canary");
    assert_eq!(cluster.get("daemonset/millrace-agent-kubeadm"), Value::Null);
    cluster.serves("c1", true);
    cluster.until_there("daemonset/millrace-agent-kubeadm");

    first.end(Signal::KILL);
    let second = Controller::start(api, "second");
    let storm = cluster.storm(&["meshcni/default"]);
    cluster.serves("n1", true);
    cluster.until("the second takes over", |mesh| mesh["status"]["phase"] == "Running");
    storm.end();

    cluster.wants(json!({ "rollout": rollout(true), "failurePolicy": "Open" }));
    cluster.until("it is written down", |mesh| {
        mesh["status"]["observedGeneration"] == mesh["metadata"]["generation"]
    });
    cluster.until_true("agents are held", || {
        cluster.get("daemonset/millrace-agent-kubeadm")["spec"]["updateStrategy"]["type"] == "OnDelete"
    });
    let config = || cluster.get("configmap/millrace-agent-kubeadm")["data"]["agent.yaml"].to_string();
    assert!(config().contains("Closed"), "{}", config());
    cluster.wants(json!({ "rollout": rollout(false), "failurePolicy": "Open" }));
    cluster.until_true("and let go", || config().contains("Open"));
    cluster.until("it runs again", |mesh| mesh["status"]["phase"] == "Running");

    let third = Controller::start(api, "third");
    second.end(Signal::TERM);
    cluster.until_true("the Lease was given back", || {
        cluster.get("lease/millrace-controller")["spec"]["holderIdentity"] == "third"
    });
    cluster.node("n1", false);
    cluster.until("a node dies, and is named", |mesh| mesh["status"]["failingNodes"][0]["code"] == "MR2001");
    assert_eq!(cluster.mesh()["status"]["state"], "Serving");
    third.end(Signal::TERM);
}

/// The webhook converts in Serving and not before, by the API server's own calls.
#[test]
fn pods_are_converted_once_all_nodes_serve() {
    on_each(
        "controller::pods_are_converted_once_all_nodes_serve",
        pods_are_converted_once_all_nodes_serve_on,
    );
}

fn pods_are_converted_once_all_nodes_serve_on(api: &Server) {
    let cluster = Cluster::new(api);
    cluster.node("n1", true);
    let controller = Controller::admitting(api, "one");
    cluster.wants(json!({}));
    cluster.until("it installs", |mesh| mesh["status"]["state"] == "Installing");
    cluster.meshed("early");
    assert_eq!(cluster.stamp("early"), "");
    cluster.serves("n1", true);
    cluster.until("it serves", |mesh| mesh["status"]["state"] == "Serving");
    let mut count = 0;
    cluster.until_true("pods are converted", || {
        count += 1;
        let name = format!("late-{count}");
        cluster.meshed(&name);
        cluster.stamp(&name).contains("redirect")
    });
    cluster
        .until("the early one is owed a restart", |mesh| mesh["status"]["workloads"]["initContainer"] != 0);
    cluster.wants(json!({ "mode": "InitContainer" }));
    cluster.until("it drains", |mesh| mesh["status"]["state"] == "Draining");
    cluster.until_true("pods are converted no more", || {
        count += 1;
        let name = format!("after-{count}");
        cluster.meshed(&name);
        cluster.stamp(&name).is_empty()
    });
    assert!(cluster.mesh()["status"]["workloads"]["restartDebt"] != 0);
    controller.end(Signal::TERM);
}
