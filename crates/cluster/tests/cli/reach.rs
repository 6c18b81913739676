//! `millrace verify`, `rules --live`, `trace --live` and `why` of pods of a real API server, which passes exec and logs on to a
//! kubelet's door of the test's own; what is run there is run for real, in a network namespace.

use crate::cluster::Cluster;
use crate::kubelet::{Kubelet, on_this_machine, until};
use crate::program::{Said, golden};
use millrace_core::dialect::Choice;
use millrace_core::rules::plan::plan;
use millrace_core::settings::{Families, Settings};
use millrace_host::backend;
use millrace_host::netns::NetNs;
use millrace_rig::absent;
use millrace_rig::injector::told;
use millrace_rig::net;
use millrace_rig::net::lab::Lab;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

const NAMESPACE: &str = "reach";
const NODE: &str = "reach-1";

fn id() -> String {
    "5eed".repeat(16)
}

/// A pod with istio-init of a release of today, with one setting of its own.
fn stock() -> Value {
    let told = [told(), vec!["-o", "3306"]].concat();
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "stock", "namespace": NAMESPACE, "annotations": {
            "sidecar.istio.io/status": r#"{"initContainers":["istio-init"],"containers":["istio-proxy"]}"# } },
        "spec": { "nodeName": NODE,
            "initContainers": [{ "name": "istio-init", "image": "proxyv2", "args": told }],
            "containers": [{ "name": "app", "image": "x" }, { "name": "istio-proxy", "image": "proxyv2" }] } })
}

fn agent(audit: bool) -> Value {
    let capabilities =
        if audit { json!({ "add": ["NET_ADMIN", "SYS_ADMIN"] }) } else { json!({ "drop": ["ALL"] }) };
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "agent", "namespace": NAMESPACE, "labels": {
            "app.kubernetes.io/name": "millrace", "app.kubernetes.io/component": "agent" } },
        "spec": { "nodeName": NODE, "hostPID": audit, "containers": [{ "name": "agent", "image": "x", "command": ["/millrace"],
            "securityContext": { "capabilities": capabilities } }] } })
}

/// Says of a pod that it runs, as its kubelet would.
fn runs(cluster: &Cluster, name: &str) {
    set_status(
        cluster,
        name,
        &json!({ "phase": "Running", "containerStatuses": [{ "name": "app", "image": "x", "imageID": "",
        "ready": true, "restartCount": 0, "containerID": format!("containerd://{}", id()),
        "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }] }),
    );
}

fn set_status(cluster: &Cluster, name: &str, status: &Value) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}");
    let mut pod: Value = serde_json::from_str(&cluster.done(&["get", "--raw", &path], "")).expect("JSON");
    pod["status"] = status.clone();
    cluster.replace(&format!("{path}/status"), &pod);
}

fn replaced(cluster: &Cluster, pod: &Value) {
    let name = pod["metadata"]["name"].as_str().expect("a name");
    cluster.kubectl(&["delete", "pod", name, "-n", NAMESPACE, "--force", "--grace-period=0"], "");
    cluster.create(pod);
    runs(cluster, name);
}

/// What is printed, without what differs from run to run.
fn steady(said: &Said) -> String {
    let number = |line: &str| match line.split_once("network namespace /proc/") {
        Some((before, rest)) => {
            format!(
                "{before}network namespace /proc/PID{}",
                rest.trim_start_matches(|c: char| c.is_ascii_digit())
            )
        }
        None => line.to_owned(),
    };
    said.out.lines().map(|line| number(line) + "\n").collect()
}

/// A cluster with one node, a pod of which is a namespace of this machine, redirected as istio-init would.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) kubelet: Kubelet,
    /// What is read as a log.
    log: Arc<Mutex<String>>,
    pub(crate) lab: Lab,
}

impl Scene {
    pub(crate) fn new(test: &str) -> Option<Scene> {
        if let Some((what, how)) = net::missing(&net::NEEDS) {
            absent::not_run(test, what, how);
            return None;
        }
        let cluster = Cluster::real(test)?;
        let lab = Lab::new();
        let settings = Settings { exclude_outbound_ports: vec![3306.into()], ..Settings::default() };
        let netns = NetNs::open(&lab.pod.path()).expect("the pod lives");
        backend::apply(&netns, &plan(&settings, Families::Both), Choice::Auto, None).expect("rules");
        let log = Arc::new(Mutex::new(String::new()));
        let (pid, told) = (lab.pod.pid(), Arc::clone(&log));
        let kubelet = Kubelet::start(
            move |words| on_this_machine(words, &id(), pid),
            move || told.lock().expect("whole").clone(),
        );
        cluster.kubectl(&["create", "namespace", NAMESPACE], "");
        cluster.kubectl(&["delete", "node", NODE], "");
        cluster.create(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } }));
        let path = format!("/api/v1/nodes/{NODE}");
        let mut node: Value =
            serde_json::from_str(&cluster.done(&["get", "--raw", &path], "")).expect("JSON");
        node["status"] = kubelet.node();
        cluster.replace(&format!("{path}/status"), &node);
        for pod in [stock(), agent(true)] {
            replaced(&cluster, &pod);
        }
        Some(Scene { cluster, kubelet, log, lab })
    }

    /// A folder with the plugin's record of the pod's attachment: it stands for a namespace that the kernel lists as a container's, which
    /// is found by its control group.
    pub(crate) fn recorded(&self, name: &str) -> PathBuf {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/stock");
        let pod = self.cluster.done(&["get", "--raw", &path], "");
        let pod: Value = serde_json::from_str(&pod).expect("JSON");
        let state = std::env::temp_dir().join(format!("millrace-{name}-{}", std::process::id()));
        std::fs::create_dir_all(state.join("attachments")).expect("a directory");
        let record = json!({ "v": 1, "network": "net", "container": "c1", "interface": "eth0", "netns": self.lab.pod.path(),
            "namespace": NAMESPACE, "name": "stock", "uid": pod["metadata"]["uid"], "stamp": "{}", "families": "both",
            "backend": "iptables", "release": "0.1.0" });
        std::fs::write(state.join("attachments/net:c1:eth0"), record.to_string()).expect("a record");
        state
    }
}

#[test]
fn golden_a_stock_pod_is_verified_by_exec_into_the_nodes_agent() {
    let Some(scene) = Scene::new("cli::golden_a_stock_pod_is_verified_by_exec_into_the_nodes_agent") else {
        return;
    };
    let cluster = &scene.cluster;
    let said = cluster.run(&["verify", "pod/stock", "-n", NAMESPACE]);
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{}", said.out);
    golden("reach-verify", &steady(&said));
    let words = scene.kubelet.last();
    assert!(
        words.contains(&"--stock".to_owned()) && words.contains(&"15090,15021,15020".to_owned()),
        "{words:?}"
    );
    let said = cluster.run(&["verify", "-n", NAMESPACE, "--no-probes", "--lang=zh"]);
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    golden("reach-verify-namespace-zh", &steady(&said));
    let live =
        cluster.run(&["rules", "stock", "-n", NAMESPACE, "--live", "--family=4", "-o", "iptables-save"]);
    assert!(
        live.status == Some(0) && live.out.contains("-A ISTIO_OUTPUT -p tcp -m tcp --dport 3306 -j RETURN"),
        "{}",
        live.err
    );
    assert!(live.err.contains("millrace: by exec into reach/agent on node reach-1"), "{}", live.err);
    let trace = cluster.run(&["trace", "stock", "-n", NAMESPACE, "--live", "--to", "192.0.2.1:80"]);
    assert!(trace.out.ends_with("outcome: redirected to port 15001\n"), "{}{}", trace.out, trace.err);
    let why = cluster.run(&["why", "stock", "-n", NAMESPACE]);
    assert!(why.status == Some(2) && why.err.contains("nothing is known of UID "), "{}{}", why.out, why.err);
    // Rules that are gone are seen from afar as well.
    scene.lab.pod.sh("nft flush ruleset");
    let said = cluster.run(&["verify", "pod/stock", "-n", NAMESPACE, "-o", "jsonl"]);
    let one: Value = serde_json::from_str(&said.out).expect("a line for the one pod");
    assert_eq!((said.status, one["verdict"].as_str()), (Some(1), Some("NOT VERIFIED")), "{}", said.out);
}

#[test]
fn golden_what_a_way_lacks_is_named() {
    let Some(scene) = Scene::new("cli::golden_what_a_way_lacks_is_named") else { return };
    let cluster = &scene.cluster;
    let stranger = cluster.api().user("reach-eve", &["others"]);
    cluster.api().allow("reach-eve", "get,list", "pods");
    let said = cluster.run_as(&stranger, &["verify", "pod/stock", "-n", NAMESPACE, "--debug-image=x"]);
    assert_eq!(said.status, Some(2), "{}", said.out);
    golden("reach-no-rights", &steady(&said));
    replaced(cluster, &agent(false));
    let said = cluster.run(&["verify", "pod/stock", "-n", NAMESPACE]);
    assert_eq!(said.status, Some(2), "{}", said.out);
    golden("reach-zero-agent", &steady(&said));
    cluster.kubectl(&["delete", "pod", "agent", "-n", NAMESPACE, "--force", "--grace-period=0"], "");
    let said = cluster.run(&["verify", "pod/stock", "-n", NAMESPACE, "--debug-image=x"]);
    assert_eq!(said.status, Some(2), "{}", said.out);
    golden("reach-no-agent", &steady(&said));
}

#[test]
fn a_debug_pod_looks_from_the_node_and_is_deleted() {
    let Some(scene) = Scene::new("cli::a_debug_pod_looks_from_the_node_and_is_deleted") else { return };
    let cluster = &scene.cluster;
    cluster.kubectl(&["delete", "pod", "agent", "-n", NAMESPACE, "--force", "--grace-period=0"], "");
    let args =
        ["verify", "pod/stock", "-n", NAMESPACE, "--debug-image=localhost/millrace:test", "--debug-node"];
    let command = cluster.start(&args);
    let looks = ["get", "pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=look", "-o", "json"];
    let pods = || -> Vec<Value> {
        let list: Value = serde_json::from_str(&cluster.done(&looks, "")).expect("JSON");
        list["items"].as_array().cloned().unwrap_or_default()
    };
    let pod = until("the pod that looks is made", || pods().into_iter().next());
    let container = &pod["spec"]["containers"][0];
    assert_eq!(
        (&pod["spec"]["nodeName"], &container["securityContext"]["privileged"]),
        (&json!(NODE), &json!(true))
    );
    let words = container["command"].as_array().expect("a command").iter().filter_map(Value::as_str);
    let words: Vec<String> = words.map(str::to_owned).collect();
    let output = on_this_machine(&words, &id(), scene.lab.pod.pid());
    *scene.log.lock().expect("whole") = String::from_utf8(output.stdout).expect("text");
    let state = json!({ "terminated": { "exitCode": output.status.code(), "reason": "Completed" } });
    let status = json!({ "phase": "Succeeded", "containerStatuses": [{ "name": "look", "image": "x", "imageID": "", "ready": false,
        "restartCount": 0, "state": state }] });
    set_status(cluster, pod["metadata"]["name"].as_str().expect("a name"), &status);
    let said: Said = command.wait_with_output().expect("millrace ends").into();
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    assert!(
        said.out.contains("on node reach-1, deleted since") && said.out.ends_with("VERIFIED 1/1 pods\n"),
        "{}",
        said.out
    );
    assert_eq!(pods(), Vec::<Value>::new());
}

#[test]
fn its_own_node_needs_no_way() {
    let Some(scene) = Scene::new("cli::its_own_node_needs_no_way") else { return };
    let state = scene.recorded("reach");
    let place = format!("--state-dir={}", state.display());
    let said = scene.cluster.run(&["verify", "reach/stock", &place]);
    let live = scene.cluster.run(&["rules", "reach/stock", "--live", &place]);
    std::fs::remove_dir_all(&state).expect("it goes");
    assert_eq!(said.status, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.starts_with("reach/stock: VERIFIED, on this node\n"), "{}", said.out);
    assert!(live.status == Some(0) && live.err.contains("millrace: on this node"), "{}", live.err);
    assert_eq!(scene.kubelet.last(), Vec::<String>::new());
}
